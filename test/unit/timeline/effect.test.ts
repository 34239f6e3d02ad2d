import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addEffect, MAX_DETAILS_BYTES, type DeclaredEffect } from '../../../src/timeline/effect.ts'

const at = new Date(1_000)

test('whatever is declared, nothing is thrown and what is kept is bounded, valid JSON and storable', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.anything(), fc.anything()), { maxLength: 5 }), (declared) => {
      const effects: DeclaredEffect[] = []
      for (const [name, details] of declared) addEffect(effects, at, name, details)
      assert.equal(effects.length, declared.length)
      for (const { name, detailsJson } of effects) {
        assert.ok(name.length <= 1_200 && name.isWellFormed() && !name.includes('\u0000'))
        if (detailsJson === null) continue
        JSON.parse(detailsJson)
        assert.ok(Buffer.byteLength(detailsJson) <= MAX_DETAILS_BYTES)
      }
    }),
  )
})

test('details that are too large, or no JSON, leave a note in their place', () => {
  const effects: DeclaredEffect[] = []
  const circle: unknown[] = []
  circle.push(circle)
  addEffect(effects, at, 'large', 'x'.repeat(MAX_DETAILS_BYTES))
  addEffect(effects, at, 'circle', circle)
  addEffect(effects, at, 'fits', 'x'.repeat(MAX_DETAILS_BYTES - 2))
  assert.deepEqual(
    effects.map(({ detailsJson }) => (detailsJson as string).slice(0, 40)),
    [
      '{"note":"the details have 4098 bytes, an',
      '{"note":"the details cannot be written a',
      `"${'x'.repeat(39)}`,
    ],
  )
})

test('of more effects than are kept the last one says how many there were beyond', () => {
  const effects: DeclaredEffect[] = []
  for (let n = 1; n <= 250; n += 1) addEffect(effects, at, `effect-${n}`, undefined)
  assert.equal(effects.length, 100)
  assert.deepEqual(
    [effects[98]?.name, effects[99]?.name, effects[99]?.detailsJson],
    ['effect-99', '(more)', '{"n":151}'],
  )
})

test('an effect that is called as the bound calls its own is one like any other', () => {
  for (const details of [null, { n: 'many' }, { n: 7 }, undefined, 'text']) {
    const effects: DeclaredEffect[] = []
    for (let n = 1; n <= 102; n += 1) addEffect(effects, at, '(more)', details)
    assert.deepEqual(
      [effects.length, effects[99]?.name, effects[99]?.detailsJson],
      [100, '(more)', '{"n":3}'],
    )
  }
})
