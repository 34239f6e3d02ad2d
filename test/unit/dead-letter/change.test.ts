import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { changeOf, type ValueChange } from '../../../src/dead-letter/change.ts'
import { ODD_VALUES } from '../../support/dead-letters.ts'

/** The value that a change makes of this one, or why it makes none. */
function made(before: string | Uint8Array | null, change: ValueChange): string {
  const { outcome, ...rest } = changeOf(change)(before === null ? null : Buffer.from(before))
  return 'value' in rest ? Buffer.from(rest.value).toString() : outcome
}

test('a place is set to JSON, in objects and in lists, also where the name is new', () => {
  const order = '{"currency":"EUX","items":[{"sku":"a"},{"sku":"b","n":1}],"a.b":0}'
  assert.equal(made('{"a":{"b":1}}', { set: ['data.a.b={"c":[1]}'] }), '{"a":{"b":{"c":[1]}}}')
  assert.equal(
    made(order, { set: ['data.currency="EUR"', 'data.items[].n=2', 'data["a.b"]=null'] }),
    '{"currency":"EUR","items":[{"sku":"a","n":2},{"sku":"b","n":2}],"a.b":null}',
  )
  assert.equal(made('{"l":[1,2]}', { set: ['data.l[1]=3'] }), '{"l":[1,3]}')
  assert.equal(made('{"l":[1,2]}', { set: ['data.l[]="x=y"'] }), '{"l":["x=y","x=y"]}')
})

test('a name is taken out wherever it is', () => {
  assert.equal(made('{"a":1,"b":2}', { unset: ['data.a'] }), '{"b":2}')
  assert.equal(made('[{"a":1},{"b":2}]', { unset: ['data[].a'] }), '[{},{"b":2}]')
  assert.equal(made('{"b":2}', { unset: ['data.a', 'data.c.d'] }), 'unchanged')
})

test('what is so already stays as it is, byte for byte, and what has no such place too', () => {
  assert.equal(made('{ "a" : 1 }', { set: ['data.a=1'] }), 'unchanged')
  assert.equal(made('{"a":{"b":1}}', { set: ['data.a={}', 'data.a.b=1'] }), 'unchanged')
  assert.equal(made('{"a":1.0}', { set: ['data.a=1'] }), '{"a":1}')
  for (const value of ['{}', '{"a":1}', '{"a":[]}', '{"a":null}', '7', 'null'])
    assert.equal(made(value, { set: ['data.a.b=1'] }), 'no-place', value)
  assert.equal(made('{"l":[1]}', { set: ['data.l[1]=3'] }), 'no-place')
  assert.equal(made('{"l":[1],"m":1}', { set: ['data.m=2', 'data.l[1]=3'] }), 'no-place')
})

test('numbers stay as they are written, and no name is lost', () => {
  const odd = '{"n":9007199254740993,"m":1e400,"z":-0,"f":1.10}'
  assert.equal(
    made(odd, { set: ['data.x=12345678901234567890'] }),
    odd.replace('}', ',"x":12345678901234567890}'),
  )
  assert.equal(
    made('{"__proto__":{"a":1}}', { set: ['data.__proto__.a=2'] }),
    '{"__proto__":{"a":2}}',
  )
  assert.equal(made('{}', { set: ['data.__proto__=2'] }), '{"__proto__":2}')
  assert.equal(made('{}', { set: ['data.constructor.name=2'] }), 'no-place')
})

test('whatever the value is, it is changed or left as it is', () => {
  for (const [name, value] of Object.entries(ODD_VALUES)) {
    const outcome = made(value, { set: ['data.currency="EUR"'] })
    assert.ok(['not-json', 'no-place'].includes(outcome) || outcome.includes('"EUR"'), name)
  }
})

test('done twice it gives what it gave once', () => {
  const change = {
    set: ['data.a=1', 'data.b[].c="x"', 'data.b[0]={}'],
    unset: ['data.b[].d', 'data.e'],
  }
  const apply = changeOf(change)
  const inner = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.jsonValue())
  const outer = fc.record({ b: fc.array(inner, { maxLength: 3 }), e: fc.jsonValue() })
  fc.assert(
    fc.property(outer, (data) => {
      const once = apply(Buffer.from(JSON.stringify(data)))
      if (once.outcome !== 'changed') return
      const twice = apply(once.value)
      const after = twice.outcome === 'changed' ? twice.value : once.value
      assert.equal(Buffer.from(after).toString(), Buffer.from(once.value).toString())
    }),
  )
})

test('what cannot be read as a change is told', () => {
  const wrong: readonly (readonly [ValueChange, RegExp])[] = [
    [{}, /nothing is to be set/],
    [{ set: ['data.a=EUR'] }, /data\.a=EUR: 'EUR' is no JSON; a text needs its quotes/],
    [{ set: ['data.a'] }, /expected a place in the value and JSON/],
    [{ set: ['data.a!=1'] }, /expected a place in the value and JSON/],
    [{ set: ['header.a=1'] }, /expected a place in the value and JSON/],
    [{ set: ['data=1'] }, /the whole value is not changed/],
    [{ unset: ['data'] }, /the whole value is not changed/],
    [{ unset: ['data.a[0]'] }, /only a name is taken out/],
    [{ unset: ['data.a='] }, /expected a place in the value/],
    [{ unset: ['key'] }, /expected a place in the value/],
  ]
  for (const [change, message] of wrong)
    assert.throws(() => changeOf(change), { code: 'E_CONFIG_INVALID', message })
})
