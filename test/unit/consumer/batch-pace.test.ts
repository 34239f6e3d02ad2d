import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BatchPace } from '../../../src/consumer/batch-pace.ts'

const options = {
  batchRecords: 500,
  prepareConcurrency: 16,
  transactionTimeoutMs: 5_000,
  floodBrake: false,
} as const
const brake = { share: 0.5, atLeast: 20, minKeys: 2, windowRecords: 100 }

test('while nothing is known, and while handlers are fast, a batch is as large as it may be', () => {
  const pace = new BatchPace(options)
  assert.equal(pace.records, 500)
  pace.prepared(500, 4)
  pace.applied(500, 100)
  assert.equal(pace.records, 500)
})

test('a batch has what slow handlers are through with in a quarter of a second', () => {
  const pace = new BatchPace(options)
  for (let turn = 0; turn < 10; turn += 1) pace.applied(pace.records, pace.records * 10)
  assert.equal(pace.records, 25)
  for (let turn = 0; turn < 20; turn += 1) pace.applied(pace.records, pace.records * 0.01)
  assert.equal(pace.records, 500)
})

test('a batch fits well into the limit of its transaction', () => {
  const pace = new BatchPace({ ...options, transactionTimeoutMs: 400 })
  for (let turn = 0; turn < 10; turn += 1) pace.applied(pace.records, pace.records * 10)
  assert.equal(pace.records, 10)
})

test('handlers get twenty times as long as a commit takes, and a quarter of the limit at most', () => {
  const pace = new BatchPace(options)
  const turn = (commitMs: number): void => {
    pace.applied(pace.records, pace.records * 10)
    pace.committed(commitMs)
  }
  for (let turns = 0; turns < 20; turns += 1) turn(30)
  assert.equal(pace.records, 60)
  for (let turns = 0; turns < 20; turns += 1) turn(300)
  assert.equal(pace.records, 125)
})

test('a batch can hold a flood, as long as the limit of its transaction allows it', () => {
  const pace = new BatchPace({ ...options, floodBrake: brake })
  for (let turn = 0; turn < 20; turn += 1) pace.applied(pace.records, pace.records * 20)
  assert.equal(pace.records, 40)
  for (let turn = 0; turn < 20; turn += 1) pace.applied(pace.records, pace.records * 125)
  assert.equal(pace.records, 10)
})

test('what was slow once is forgotten by batches without a handler that is called record by record', () => {
  const pace = new BatchPace(options)
  pace.applied(1, 5_000)
  assert.equal(pace.records, 1)
  for (let turn = 0; turn < 30; turn += 1) pace.applied(pace.records, 0)
  assert.equal(pace.records, 500)
})

test('slow look-ups of prepare, which are many at once, are given several rounds', () => {
  const pace = new BatchPace(options)
  for (let turn = 0; turn < 10; turn += 1) pace.prepared(pace.records, pace.records * 50)
  assert.equal(pace.records, 64)
})

test('a batch has at least one record and at most what it may, whatever was seen', () => {
  const seen = fc.record({
    records: fc.nat(1_000),
    prepareMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
    commitMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
    applyMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
  })
  fc.assert(
    fc.property(fc.array(seen), fc.integer({ min: 1, max: 10_000 }), (batches, batchRecords) => {
      const pace = new BatchPace({ ...options, batchRecords })
      for (const { records, prepareMs, applyMs, commitMs } of batches) {
        pace.prepared(records, prepareMs)
        pace.applied(records, applyMs)
        pace.committed(commitMs)
        assert.ok(Number.isInteger(pace.records))
        assert.ok(pace.records >= 1 && pace.records <= batchRecords)
      }
    }),
  )
})
