import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import type { StartOptions } from '../../../src/app/options.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { job } from '../../../src/jobs/job.ts'
import { trace, type Timeline } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'

const schema = z.object({ receipt: z.string() })

interface Bed {
  readonly millrace: Millrace
  /** The timeline of whatever is asked for. */
  look(asked: string): Promise<Timeline>
  /** Writes what a till writes, and waits until everything about it is done. */
  ring(...receipts: string[]): Promise<void>
}

async function setup(
  t: TestContext,
  parts: Pick<StartOptions, 'run' | 'jobs' | 'queues'>,
): Promise<Bed> {
  const { url } = await testDatabase(t)
  const topics = { tills: { partitions: 1 }, orders: { partitions: 1 }, other: { partitions: 4 } }
  const millrace = await running(t, { database: url, topics, ...parts })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  return {
    millrace,
    look: (asked) => trace(operator, asked),
    async ring(...receipts) {
      await millrace.log.append(
        receipts.map((receipt) => {
          const value = Buffer.from(JSON.stringify({ receipt }))
          return { topic: 'tills', key: null, value, headers: [] }
        }),
      )
      await settled(millrace)
    },
  }
}

/** What it looks like: type, label and state of each node. */
function shape({ nodes }: Timeline): string[] {
  return nodes.map(({ type, label, state }) => `${type} ${label}: ${state}`)
}

test('a record without an id is found by the one that was made of its place, while the log has it', async (t) => {
  const purchase = foreign('tills', { schema })
  const books = application('books').on(
    purchase,
    inTransaction(({ data }) => {
      if (data.receipt === 'r-2') throw permanent('no receipt like that')
    }),
  )
  const { millrace, look, ring } = await setup(t, { run: [books] })
  await ring('r-1', 'r-2')
  const ids: string[] = []
  for (const place of ['tills/0/0', 'tills/0/1']) {
    const { nodes, correlationId } = await look(place)
    assert.equal(nodes[0]?.ref.eventId, correlationId)
    ids.push(correlationId)
    for (const id of [correlationId, correlationId.toUpperCase()]) {
      const found = await look(id)
      assert.deepEqual([found.nodes[0]?.id, found.nodes[0]?.asked], [place, true])
      assert.deepEqual(shape(found), shape(await look(place)))
    }
  }
  const unknown = String(ids[0]).replace(/^.{8}/, '00000000')
  await assert.rejects(look(unknown), {
    code: 'E_TRACE_NOT_FOUND',
    message: /made of where a record stands, but no partition of this log gives this one/,
  })

  const { id: topicId } = (await millrace.log.topic('tills')) ?? assert.fail('no topic')
  await millrace.log.purge(topicId, 0, 2n)
  await assert.rejects(look(String(ids[0])), {
    code: 'E_TRACE_NOT_FOUND',
    message: /there is no record tills\/0\/0 any more: the partition begins at offset 2/,
  })
  const letter = await look(String(ids[1]))
  assert.match(shape(letter).join(), /: gone,application books: set aside,/)
})

test('from whatever followed, a trace reaches the record whose id only its application knows', async (t) => {
  const purchase = foreign('tills', { schema, id: ({ receipt }) => receipt })
  const ordered = event('ORDERED', { topic: 'orders', source: 'shop', schema })
  const note = job('note', { args: schema, handle: () => {} })
  const mail = job('mail', { args: schema, handle: () => {} })
  const shop = application('shop').on(
    purchase,
    inTransaction(async ({ data }, { tx }) => {
      if (data.receipt !== 'r-2') await tx.publish(ordered, data)
      if (data.receipt !== 'r-1') await tx.insert(note, data)
    }),
  )
  const mails = application('mails').on(
    ordered,
    toJob(mail, ({ data }) => data),
  )
  const { millrace, look, ring } = await setup(t, {
    run: [shop, mails],
    jobs: [note],
    queues: { default: 5 },
  })
  await ring('r-1', 'r-2')
  const ofEvent = [
    'event (record of tills): in the log',
    'application shop: handled',
    'event ORDERED: in the log',
    'application mails: handled',
    'job mail: completed',
  ]
  const ofJob = [
    'event (record of tills): in the log',
    'application shop: handled',
    'job note: completed',
  ]
  const everything = [
    ['r-1', 'tills/0/0', ofEvent],
    ['r-2', 'tills/0/1', ofJob],
  ] as const
  const asked: string[] = []
  for (const [id, place, expected] of everything) {
    const { nodes } = await look(place)
    const refs = nodes.flatMap(({ ref }) => [ref.jobId, ref.eventId].flatMap((one) => one ?? []))
    assert.ok(refs.includes(id))
    for (const one of [place, ...refs]) {
      const timeline = await look(one)
      assert.deepEqual(shape(timeline), expected, one)
      assert.deepEqual([timeline.correlationId, timeline.nodes[0]?.id], [id, place], one)
      assert.deepEqual(
        timeline.nodes.flatMap(({ notes }) => notes),
        [],
        one,
      )
      assert.equal(timeline.nodes.filter((node) => node.asked).length, 1, one)
    }
    asked.push(String(nodes.at(-1)?.ref.jobId))
  }

  const { id: topicId } = (await millrace.log.topic('tills')) ?? assert.fail('no topic')
  await millrace.log.purge(topicId, 0, 2n)
  for (const [index, [id, place, expected]] of everything.entries()) {
    const gone = await look(String(asked[index]))
    assert.deepEqual(shape(gone), ['event (record of tills): gone', ...expected.slice(1)])
    assert.deepEqual([gone.nodes[0]?.id, gone.nodes[0]?.ref.eventId], [place, id])
  }
  // Another topic of that name: what stands at that place now is not what it was.
  await millrace.log.deleteTopic('tills')
  await millrace.log.createTopic('tills', { partitions: 1 })
  await millrace.log.append([
    { topic: 'tills', key: null, value: null, headers: [], timestamp: new Date(Date.now() + 9e6) },
  ])
  const made = await look(String(asked[0]))
  assert.deepEqual(shape(made), ofEvent.slice(2))
  assert.deepEqual(made.nodes[0]?.notes, ['caused by r-1, which was not found'])
})
