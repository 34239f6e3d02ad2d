import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import { FINGERPRINT_VERSION, fingerprintOf } from '../../../src/dead-letter/fingerprint.ts'
import { describeError, type ErrorDescription } from '../../../src/errors/describe.ts'
import { createDecoder } from '../../../src/events/decode.ts'
import { event } from '../../../src/events/event.ts'
import { headersOf, recordWith } from '../events/record.ts'
import { CORPUS } from './fingerprint-corpus.ts'

function printOf(error: Partial<ErrorDescription> & { readonly message: string }): string {
  return fingerprintOf({ stage: 'apply', handler: 'bill', error: { class: 'Error', ...error } })
}

test('failures of one cause have one fingerprint, and those of two have two', () => {
  const owner = new Map<string, string>()
  for (const [cause, failures] of Object.entries(CORPUS)) {
    const prints = new Map(failures.map((failure) => [fingerprintOf(failure), failure]))
    assert.equal(
      prints.size,
      1,
      `${cause}:\n${failures.map((f) => `${fingerprintOf(f)} ${f.error.message.slice(0, 80)}`).join('\n')}`,
    )
    for (const print of prints.keys()) {
      assert.match(print, /^[0-9a-f]{16}$/)
      assert.equal(owner.get(print), undefined, `${cause} = ${owner.get(print)}`)
      owner.set(print, cause)
    }
  }
})

test('what version 1 gives does not change', () => {
  assert.equal(FINGERPRINT_VERSION, 1)
  assert.equal(printOf({ message: 'order 5 not found' }), 'a5267a01171dea8b')
})

const hex = fc.stringMatching(/^[0-9a-f]{8,40}$/)
const varying = fc.oneof(
  fc.uuid(),
  fc.ulid(),
  hex,
  fc.integer().map(String),
  fc.bigInt().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
)

test('ids and numbers in a message do not change it', () => {
  fc.assert(
    fc.property(varying, varying, varying, varying, (a, b, c, d) => {
      assert.equal(
        printOf({ message: `order ${a} of user=${b} was refused` }),
        printOf({ message: `order ${c} of user=${d} was refused` }),
      )
    }),
  )
})

test('quoted text, times, addresses and paths do not change it', () => {
  const word = fc.stringMatching(/^[\w äöü.,;:@/-]{0,60}$/)
  const time = fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-12-31') })
  const path = fc.stringMatching(/^\/(?:[\w.-]{1,12}\/){0,4}[\w.-]{1,12}$/)
  const parts = fc.tuple(
    word,
    time,
    fc.webUrl().map((url) => url.replaceAll("'", '')),
    fc.emailAddress(),
    path,
  )
  const text = ([w, t, u, e, p]: readonly [string, Date, string, string, string]): string =>
    `"${w}" at ${t.toISOString()} from ${u} of ${e.replaceAll(/[^\w.+@-]/g, 'x')} in ${p} gone`
  fc.assert(
    fc.property(parts, parts, (one, other) => {
      assert.equal(printOf({ message: text(one) }), printOf({ message: text(other) }))
    }),
  )
})

test('places in a list do not change what a schema complains about', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (one, other) => {
      const of = (n: number): string =>
        printOf({ message: '', issues: [{ path: `data.items[${n}].price`, kind: 'too_small' }] })
      assert.equal(of(one), of(other))
    }),
  )
})

test('keys of a map do not change what a schema complains about', async () => {
  const priced = event('PRICED', {
    source: 'S',
    topic: 'orders',
    schema: z.object({ prices: z.record(z.string(), z.object({ net: z.number() })) }),
  })
  const decode = createDecoder([priced])
  const headers = headersOf({ ce_type: 'PRICED' })
  const printOfKey = async (key: string): Promise<string> => {
    const data = JSON.stringify({ prices: { [key]: { net: 'x' } } })
    const decoded = await decode(recordWith({ headers, value: Buffer.from(data) }))
    assert.ok(decoded.kind === 'rejected')
    return fingerprintOf({ stage: 'validate', handler: '*', error: describeError(decoded.error) })
  }
  const sku = fc.nat().map((n) => `SKU-${n}`)
  const key = fc.oneof(fc.uuid(), fc.ulid(), hex, sku, fc.emailAddress(), fc.integer().map(String))
  await fc.assert(
    fc.asyncProperty(key, key, async (one, other) => {
      assert.equal(await printOfKey(one), await printOfKey(other))
    }),
  )
})

test('words of a message change it', () => {
  const word = fc.stringMatching(/^[g-z]{3,12}$/)
  fc.assert(
    fc.property(word, word, (one, other) => {
      fc.pre(one !== other)
      assert.notEqual(printOf({ message: `${one} 7` }), printOf({ message: `${other} 7` }))
    }),
  )
})

test('anything that is thrown has one', () => {
  fc.assert(
    fc.property(fc.anything(), fc.string({ unit: 'binary' }), (thrown, text) => {
      for (const error of [
        thrown,
        new Error(text),
        Object.assign(new Error('x'), { issues: thrown }),
      ])
        assert.match(
          fingerprintOf({ stage: 'job', handler: text, error: describeError(error) }),
          /^[0-9a-f]{16}$/,
        )
    }),
  )
})

test('a message made to be slow is not', () => {
  const parts = ['"', "'", " 'a", '\\', '/a', 'a@', '1-', 'aaaaaaaa', '://', 'a.', '0x', '“', '- ']
  const started = performance.now()
  for (const part of parts) printOf({ message: part.repeat(100_000 / part.length) })
  // Far above what it takes, and far below what a quadratic look at all of it would.
  assert.ok(performance.now() - started < 2_000)
})

test('frames are found behind a message however long, and not inside of it', () => {
  const where = (name: string): string => `\n    at ${name} (/app/src/bill.ts:1:2)`
  const of = (message: string, name: string): string =>
    printOf({ message, stack: `Error: ${message}${where(name)}` })
  const message = `nested${where('inner')}`
  assert.notEqual(of(message, 'charge'), of(message, 'refund'))
  const stackOf = (text: string): ErrorDescription => {
    const error = new Error(text)
    error.stack = `Error: ${text}${where('charge')}`
    return describeError(error)
  }
  const long = fingerprintOf({
    stage: 'apply',
    handler: 'h',
    error: stackOf(`"${'x'.repeat(50_000)}"`),
  })
  const short = fingerprintOf({ stage: 'apply', handler: 'h', error: stackOf('"x"') })
  assert.equal(long, short)
})

test('data that do not match a schema are known by what does not match', async () => {
  const sold = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    schema: z.object({
      currency: z.enum(['EUR']),
      items: z.array(z.object({ price: z.number() })),
    }),
  })
  const decode = createDecoder([sold])
  const printOfData = async (data: unknown): Promise<string> => {
    const decoded = await decode(recordWith({ value: Buffer.from(JSON.stringify(data)) }))
    assert.ok(decoded.kind === 'rejected')
    return fingerprintOf({ stage: 'validate', handler: '*', error: describeError(decoded.error) })
  }
  const good = { price: 1 }
  const one = await printOfData({ currency: 'EUR', items: [{ price: 'x' }] })
  assert.equal(await printOfData({ currency: 'EUR', items: [good, good, { price: null }] }), one)
  assert.notEqual(await printOfData({ currency: 'GBP', items: [{ price: 'x' }] }), one)
  const currency = await printOfData({ currency: 'GBP', items: [] })
  assert.equal(await printOfData({ currency: 12, items: [] }), currency)
  assert.notEqual(currency, one)
})

test("a schema's own error, thrown by a handler, is known by its issues", () => {
  const schema = z.object({ price: z.number() })
  const printOfThrown = (data: unknown): string =>
    fingerprintOf({
      stage: 'apply',
      handler: 'h',
      error: { ...describeError(schema.safeParse(data).error), stack: '' },
    })
  assert.equal(printOfThrown({ price: 'a' }), printOfThrown({ price: true }))
  assert.notEqual(printOfThrown({ price: 'a' }), printOfThrown([]))
})
