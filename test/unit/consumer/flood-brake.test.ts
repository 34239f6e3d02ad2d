import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  findFlood,
  findRelapse,
  GOES_WELL,
  type FloodLimits,
  type RecordOutcome,
} from '../../../src/consumer/flood-brake.ts'

const LIMITS: FloodLimits = { share: 0.5, atLeast: 20, minKeys: 2, windowRecords: 100 }

const failing = (count: number, fingerprint = 'a', keys = count): RecordOutcome[] =>
  Array.from({ length: count }, (_, i) => ({ key: `k${i % keys}`, failures: [fingerprint] }))
const well = (count: number): RecordOutcome[] => Array.from({ length: count }, () => GOES_WELL)

const outcome = fc.record({
  key: fc.constantFrom('k1', 'k2', 'k3', 'k4'),
  failures: fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { maxLength: 2 }),
})
const outcomes = fc.array(outcome, { maxLength: 60 })
const limits = fc.record({
  share: fc.constantFrom(0, 0.1, 0.5, 0.9),
  atLeast: fc.integer({ min: 1, max: 12 }),
  minKeys: fc.integer({ min: 1, max: 4 }),
  windowRecords: fc.integer({ min: 0, max: 25 }),
})

/** The rule word by word: counted anew for the batch and for every run. */
function isFlood(run: readonly RecordOutcome[], fingerprint: string, l: FloodLimits): boolean {
  const alike = run.filter(({ failures }) => failures.includes(fingerprint))
  return (
    alike.length >= l.atLeast &&
    alike.length > l.share * run.length &&
    new Set(alike.map(({ key }) => key)).size >= l.minKeys
  )
}

function byTheWord(
  before: readonly RecordOutcome[],
  batch: readonly RecordOutcome[],
  l: FloodLimits,
): Set<string> {
  const all = [...before, ...batch]
  const floods = ['a', 'b', 'c'].filter((f) => isFlood(batch, f, l))
  for (let end = before.length + 1; l.windowRecords > 0 && end <= all.length; end += 1) {
    const run = all.slice(Math.max(0, end - l.windowRecords), end)
    floods.push(...(all[end - 1]?.failures ?? []).filter((f) => isFlood(run, f, l)))
  }
  return new Set(floods)
}

describe('a flood of failures', () => {
  it('is more than half of a batch, at least twenty, that fails alike over several keys', () => {
    assert.deepEqual(findFlood([], [...well(19), ...failing(20)], LIMITS), {
      fingerprint: 'a',
      failed: 20,
      records: 39,
      keys: 20,
    })
    assert.equal(findFlood([], [...well(20), ...failing(20)], LIMITS), undefined)
    assert.equal(findFlood([], failing(19), LIMITS), undefined)
  })

  it('is not a single bad record, nor some of many, nor failures that are not alike', () => {
    assert.equal(findFlood([], [...well(499), ...failing(1)], LIMITS), undefined)
    const some = Array.from({ length: 500 }, (_, i) => (i % 20 === 0 ? failing(1) : well(1))).flat()
    assert.equal(findFlood([], some, LIMITS), undefined)
    const each = failing(100).map((one, i) => ({ ...one, failures: [`f${i}`] }))
    assert.equal(findFlood([], each, LIMITS), undefined)
  })

  it('is not one key whose records all fail: that is poison, unless one key is enough', () => {
    assert.equal(findFlood([], failing(500, 'a', 1), LIMITS), undefined)
    assert.equal(findFlood([], failing(500, 'a', 1), { ...LIMITS, minKeys: 1 })?.failed, 500)
  })

  it('shows in the last records where batches are small, and where it begins late in a large one', () => {
    const before = failing(19)
    assert.equal(findFlood(before, failing(1, 'a', 1), LIMITS)?.failed, 20)
    assert.equal(findFlood(before, failing(1), { ...LIMITS, windowRecords: 0 }), undefined)
    assert.equal(findFlood([...well(85), ...before], failing(1), LIMITS), undefined)
    assert.deepEqual(findFlood([], [...well(300), ...failing(200)], LIMITS), {
      fingerprint: 'a',
      failed: 51,
      records: 100,
      keys: 51,
    })
  })

  it('is what the rule says, word by word', () => {
    fc.assert(
      fc.property(outcomes, outcomes, limits, (before, batch, l) => {
        const expected = byTheWord(before, batch, l)
        const found = findFlood(before, batch, l)
        assert.equal(found !== undefined, expected.size > 0)
        if (found === undefined) return
        assert.ok(expected.has(found.fingerprint))
        assert.ok(batch.some(({ failures }) => failures.some((f) => f === found.fingerprint)))
      }),
    )
  })

  it('is judged as if what was accepted had never been there', () => {
    fc.assert(
      fc.property(outcomes, outcomes, limits, (before, batch, l) => {
        const isAccepted = ({ failures }: RecordOutcome): boolean => failures.includes('a')
        const clear = (all: readonly RecordOutcome[]): RecordOutcome[] =>
          all
            .map((one) => ({ ...one, failures: one.failures.filter((f) => f !== 'a') }))
            .filter((one, i) => one.failures.length > 0 || !isAccepted(all[i] as RecordOutcome))
        assert.deepEqual(
          findFlood(before, batch, l, new Set(['a'])),
          findFlood(clear(before), clear(batch), l),
        )
      }),
    )
  })
})

describe('a relapse', () => {
  it('needs no number and no keys, only the share', () => {
    assert.equal(findRelapse([], failing(1), LIMITS)?.failed, 1)
    assert.equal(findRelapse([], [...well(1), ...failing(1)], LIMITS), undefined)
    assert.equal(findRelapse([], [...well(1), ...failing(2, 'a', 1)], LIMITS)?.keys, 1)
    assert.equal(findRelapse([], failing(9), LIMITS, new Set(['a'])), undefined)
    assert.equal(findRelapse(well(1), failing(1), LIMITS), undefined)
    assert.equal(findRelapse(failing(9), failing(1, 'b'), LIMITS), undefined)
    assert.equal(findRelapse(failing(9), failing(1), LIMITS)?.failed, 10)
  })

  it('is found wherever there is a flood of the whole', () => {
    fc.assert(
      fc.property(outcomes, limits, (all, l) => {
        if (findFlood([], all, { ...l, windowRecords: 0 }) !== undefined)
          assert.ok(findRelapse([], all, l))
      }),
    )
  })
})
