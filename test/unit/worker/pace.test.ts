import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pace } from '../../../src/worker/pace.ts'

test('as many jobs are held as are worked off in a tenth of a second, at most a thousand', () => {
  const pace = new Pace(10)
  assert.equal(pace.ahead, 0)
  pace.note(2)
  assert.equal(pace.ahead, 500)
  const fast = new Pace(10)
  fast.note(0)
  assert.equal(fast.ahead, 1_000)
  const slow = new Pace(10)
  slow.note(5_000)
  assert.equal(slow.ahead, 0)
})

test('one pause among many fast jobs makes a line slow for a moment, and not in the longer view', () => {
  const pace = new Pace(10)
  assert.equal(pace.steadilyAhead, 0)
  for (let n = 0; n < 5_000; n += 1) pace.note(0.02)
  for (let n = 0; n < 10; n += 1) pace.note(80)
  assert.ok(pace.ahead < 500)
  assert.ok(pace.steadilyAhead >= 500)
  pace.turn()
  assert.ok(pace.steadilyAhead >= 500)
  // A turn without jobs changes nothing.
  pace.turn()
  assert.ok(pace.steadilyAhead >= 500)
  for (let n = 0; n < 10; n += 1) pace.note(80)
  assert.ok(pace.steadilyAhead >= 500)
  // Two turns with jobs later, only what is slow now counts.
  pace.turn()
  for (let n = 0; n < 10; n += 1) pace.note(80)
  assert.ok(pace.steadilyAhead < 500)
})
