import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { changesOf } from '../../../src/cli/value-changes.ts'

const bytes = (lines: readonly string[]): Buffer => Buffer.from(lines.join('\n'))
const line = fc.constantFrom('a', 'b', 'c', '')

test('what stays and goes is the value before, what stays and comes the one behind', () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), fc.array(line, { maxLength: 30 }), (a, b) => {
      // Not JSON, so that lines are what is compared.
      const [before, after] = [
        ['(', ...a],
        ['(', ...b],
      ]
      const changes = changesOf(bytes(before), bytes(after))
      assert.deepEqual(
        changes.flatMap(([sign, text]) => (sign === '+' ? [] : [text])),
        before,
      )
      assert.deepEqual(
        changes.flatMap(([sign, text]) => (sign === '-' ? [] : [text])),
        after,
      )
    }),
  )
})

test('a large value that differs in all its items is shown in two parts, between what both share', () => {
  const value = (cents: number): Buffer =>
    Buffer.from(
      JSON.stringify({
        order: 'o',
        items: Array.from({ length: 5_000 }, (_, n) => ({ n, cents })),
        till: 3,
      }),
    )
  const changes = changesOf(value(1), value(2))
  const signs = changes.map(([sign]) => sign).join('')
  assert.match(signs, /^ +-+\++ +$/)
  assert.deepEqual(changes[1], [' ', '  "order": "o",'])
  assert.deepEqual(changes.at(-2), [' ', '  "till": 3'])
})
