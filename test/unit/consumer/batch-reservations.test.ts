import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RecordHandler } from '../../../src/consumer/handler.ts'
import { BatchReservations } from '../../../src/consumer/batch-reservations.ts'
import type { BoundHandler, Item, Step } from '../../../src/consumer/step.ts'
import type { ReserveOptions } from '../../../src/process/reserve-options.ts'

const { signal } = new AbortController()
type Run = RecordHandler<Step['event']>

/** A handler that notes how it asks, and what it gives back. */
function maker(name: string): BoundHandler & { readonly asked: string[]; given: number } {
  const asked: string[] = []
  const handler = {
    name,
    asked,
    given: 0,
    run: {
      disposition: 'jobs',
      reserve(records: number, { mayWait }: ReserveOptions) {
        asked.push(`${records} ${mayWait ? 'may wait' : 'may not wait'}`)
        return Promise.resolve({
          insert: () => Promise.resolve(),
          [Symbol.dispose]: () => {
            handler.given += 1
          },
        })
      },
    } satisfies Run,
  }
  return handler
}

const itemsFor = (
  count: number,
  handlers: readonly BoundHandler[],
  part: Partial<Step> = {},
): Item[] =>
  Array.from(
    { length: count },
    () => ({ steps: handlers.map((handler) => ({ handler, ...part })) }) as unknown as Item,
  )

test('the only handler of a batch may wait, for the records that come to it', async () => {
  const one = maker('one')
  const skipped = itemsFor(2, [one], { skipped: { outcome: 'skip', reason: 'not wanted' } })
  const failed = itemsFor(3, [maker('other')], {
    failure: { stage: 'prepare', error: new Error('no') },
  })
  const reservations = new BatchReservations()
  await reservations.make([...itemsFor(5, [one]), ...skipped, ...failed], signal)
  assert.deepEqual(one.asked, ['5 may wait'])
  assert.ok(reservations.of(one))
})

test('nobody waits with places in his hands, nor beside a handler that does something else', async () => {
  const [one, two] = [maker('one'), maker('two')]
  await new BatchReservations().make(itemsFor(4, [one, two]), signal)
  assert.deepEqual([one.asked, two.asked], [['4 may not wait'], ['4 may not wait']])
  const beside: BoundHandler = { name: 'beside', run: { disposition: 'done', apply: () => {} } }
  const reservations = new BatchReservations()
  await reservations.make(itemsFor(4, [one, beside]), signal)
  assert.equal(one.asked.at(-1), '4 may not wait')
  assert.equal(reservations.of(beside), undefined)
})

test('what was given back once is not there for a second try, and not given back again', async () => {
  const one = maker('one')
  const reservations = new BatchReservations()
  await reservations.make(itemsFor(4, [one]), signal)
  reservations[Symbol.dispose]()
  assert.deepEqual([reservations.of(one), one.given], [undefined, 1])
  reservations[Symbol.dispose]()
  assert.equal(one.given, 1)
})
