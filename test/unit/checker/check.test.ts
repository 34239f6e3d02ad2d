import assert from 'node:assert/strict'
import test from 'node:test'
import { check } from '../../support/checker/check.ts'
import { alterEntry } from './alter.ts'
import { world } from './world.ts'

test('passes a run in which everything is right', () => {
  const { history, dumps } = world()
  assert.deepEqual(check(history, dumps), { result: 'pass', violations: [], doubts: [] })
})

test('does not know about a run whose fault nobody saw', () => {
  const made = world()
  alterEntry(made, 'fault', { seen: false })
  assert.equal(check(made.history, made.dumps).result, 'unknown')
})

test('does not know about a run without a fault, unless it says so', () => {
  const made = world()
  const history = made.history.filter(({ entry }) => entry !== 'fault')
  assert.equal(check(history, made.dumps).result, 'unknown')
  const calm = history.map((entry) =>
    entry.entry === 'run' ? { ...entry, faultless: true } : entry,
  )
  assert.equal(check(calm, made.dumps).result, 'pass')
})

test('weighs a violation more than a doubt', () => {
  const made = world()
  alterEntry(made, 'fault', { seen: false })
  made.dumps.jobs.pop()
  assert.equal(check(made.history, made.dumps).result, 'violation')
})
