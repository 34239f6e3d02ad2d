import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { application } from '../../../src/consumer/application.ts'

describe('the flood brake of an application', () => {
  it('has limits where nothing is said, keeps those that are, and is off where it is false', () => {
    const limits = { share: 0.5, atLeast: 20, minKeys: 2, windowRecords: 100 }
    assert.deepEqual(application('a').options.floodBrake, limits)
    const { options } = application('a', { floodBrake: { atLeast: 5, windowRecords: 0 } })
    assert.deepEqual(options.floodBrake, { ...limits, atLeast: 5, windowRecords: 0 })
    assert.equal(application('a', { floodBrake: false }).options.floodBrake, false)
  })

  it('refuses limits that are none, and one that is never reached, all at once', () => {
    const floodBrake = { share: 1, atLeast: 0, minKeys: 1.5, windowRecords: -1 }
    assert.throws(
      () => application('a', { floodBrake }),
      /floodBrake\.share: [^]*atLeast: [^]*minKeys: [^]*windowRecords: expected a whole number from 0 to 100000, got -1/,
    )
    assert.throws(
      () => application('a', { batchRecords: 10, floodBrake: { windowRecords: 15 } }),
      /floodBrake\.atLeast: expected at most the larger of .*, 15: more are never looked at, got 20/,
    )
    assert.throws(() => application('a', { floodBrake: true as never }), /floodBrake: expected/)
    assert.throws(() => application('a', { floodBrake: null as never }), /floodBrake: expected/)
  })
})
