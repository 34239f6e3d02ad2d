import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { tombstone } from '../../../src/events/tombstone.ts'

const schema = z.object({ orderId: z.string() })
const base = { source: 'ORDER_SERVICE', topic: 'orders', schema }

function problemsOf(define: () => unknown): string {
  try {
    define()
  } catch (error) {
    assert.ok(isMillraceError(error))
    assert.equal(error.code, 'E_CONFIG_INVALID')
    return error.message
  }
  return assert.fail('the definition was accepted')
}

test('an event is a frozen value with its defaults filled in', () => {
  const itemSold = event('ITEM_SOLD', base)
  assert.ok(Object.isFrozen(itemSold) && Object.isFrozen(itemSold.upcasters))
  assert.equal(itemSold.version, 1)
  assert.equal(itemSold.oldestVersion, 1)
  assert.equal(itemSold.key({ orderId: 'o-1' }), null)
})

test('an event reads from the oldest version that has an upcaster', () => {
  const upcaster = (data: unknown): unknown => data
  const itemSold = event('ITEM_SOLD', {
    ...base,
    version: 4,
    upcasters: { 2: upcaster, 3: upcaster },
  })
  assert.equal(itemSold.oldestVersion, 2)
})

test('everything that is wrong with an event is said at once', () => {
  const message = problemsOf(() =>
    event('ITEM SOLD', {
      source: '',
      topic: 'a/b',
      schema: {} as never,
      key: 'orderId' as never,
      version: 0,
    }),
  )
  for (const option of ['type', 'source', 'topic', 'schema', 'key', 'version']) {
    assert.match(message, new RegExp(`- ${option}: expected`))
  }
})

test('an event refuses upcasters with a hole', () => {
  const upcaster = (data: unknown): unknown => data
  const message = problemsOf(() =>
    event('ITEM_SOLD', {
      ...base,
      version: 5,
      upcasters: { 1: upcaster, 2: upcaster, 4: upcaster },
    }),
  )
  assert.match(message, /upcasters\.3: expected a function from version 3 to 4/)
})

test('an event refuses an upcaster from its own version or a later one', () => {
  const upcaster = (data: unknown): unknown => data
  assert.match(
    problemsOf(() =>
      event('ITEM_SOLD', { ...base, version: 2, upcasters: { 1: upcaster, 2: upcaster } }),
    ),
    /upcasters: expected version numbers from 1 to 1 as names, got "2"/,
  )
  assert.match(
    problemsOf(() => event('ITEM_SOLD', { ...base, upcasters: { 1: upcaster } })),
    /expected none, because version is 1/,
  )
})

test('an event refuses an upcaster that is no function', () => {
  const message = problemsOf(() =>
    event('ITEM_SOLD', { ...base, version: 2, upcasters: { 1: 'v1' as never } }),
  )
  assert.match(message, /upcasters\.1: expected a function, got "v1"/)
})

test('a foreign topic has a type and a source by default', () => {
  const film = foreign('distributor-films', { schema })
  assert.equal(film.type, 'FOREIGN:distributor-films')
  assert.equal(film.source, 'distributor-films')
  assert.ok(Object.isFrozen(film))
})

test('everything that is wrong with a foreign topic is said at once', () => {
  const message = problemsOf(() =>
    foreign('..', { schema: z.string, map: 1 as never, type: '' as string } as never),
  )
  for (const option of ['topic', 'schema', 'type', 'map']) {
    assert.match(message, new RegExp(`- ${option}: expected`))
  }
})

test('tombstones of a topic are of a type of their own', () => {
  assert.deepEqual(tombstone('products'), {
    kind: 'tombstone',
    type: 'TOMBSTONE:products',
    topic: 'products',
  })
  assert.match(
    problemsOf(() => tombstone('')),
    /topic: expected/,
  )
})
