import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Header } from '../../../src/events/raw-record.ts'
import { headersFromJson, headersToJson } from '../../../src/log/headers-json.ts'

function roundTrip(headers: readonly Header[]): (readonly [string, number[] | null])[] {
  return plain(headersFromJson(headersToJson(headers)))
}

function plain(headers: readonly Header[]): (readonly [string, number[] | null])[] {
  return headers.map(([name, value]) => [name, value === null ? null : [...value]] as const)
}

test('headers that are text are legible in JSON', () => {
  assert.equal(headersToJson([['ce_id', Buffer.from('e-1')]]), '[["ce_id","e-1"]]')
  assert.equal(headersToJson([]), null)
  assert.equal(
    headersToJson([
      ['raw', Uint8Array.from([0xff])],
      ['none', null],
      ['empty', new Uint8Array(0)],
    ]),
    '[["raw",{"base64":"/w=="}],["none",null],["empty",""]]',
  )
})

test('headers come back byte for byte, in order and with their repetitions', () => {
  const value = fc.oneof(
    fc.uint8Array(),
    fc.string({ unit: 'binary' }).map((text): Uint8Array => Buffer.from(text)),
    fc.constant(Buffer.from('\uFEFF{"base64":"AA=="}\u0000')),
  )
  const name = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed())
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, fc.option(value, { nil: null })), { maxLength: 5 }),
      (headers) => {
        assert.deepEqual(roundTrip([...headers, ...headers]), plain([...headers, ...headers]))
      },
    ),
  )
})
