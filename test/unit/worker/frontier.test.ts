import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Frontier, PRIORITIES, type ClaimReading } from '../../../src/worker/frontier.ts'

/** A queue as one would see it: places of one priority, when they become visible, and whether they are taken. */
interface Model {
  readonly waiting: Set<number>
  readonly invisible: Set<number>
  /** Waiting places that nobody was woken for and no sweep has come after. */
  readonly silent: Set<number>
  next: number
}

type Step =
  | { readonly does: 'insert' }
  | { readonly does: 'begin' }
  | { readonly does: 'commit'; readonly which: number; readonly wakes: boolean }
  | { readonly does: 'ask'; readonly limit: number }
  | { readonly does: 'answer'; readonly which: number }
  | { readonly does: 'sweep' }

const steps = fc.array(
  fc.oneof<fc.Arbitrary<Step>[]>(
    fc.constant({ does: 'insert' }),
    fc.constant({ does: 'begin' }),
    fc.record({ does: fc.constant('commit' as const), which: fc.nat(), wakes: fc.boolean() }),
    fc.record({ does: fc.constant('ask' as const), limit: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ does: fc.constant('answer' as const), which: fc.nat() }),
    fc.constant({ does: 'sweep' }),
  ),
  { maxLength: 60 },
)

const priority = 5

/** Plays the steps, with up to two claims under way, whose snapshots are taken when they are asked. */
function play(model: Model, frontier: Frontier, script: readonly Step[]): void {
  const asked: {
    reading: ClaimReading
    taken: number[]
    limit: number
    horizon: number | undefined
  }[] = []
  let horizon: number | undefined
  const answer = (which: number): void => {
    const [claim] = asked.splice(which % asked.length, 1)
    if (claim === undefined) return
    const highest: (number | undefined)[] = []
    if (claim.taken.length > 0) highest[priority] = Math.max(...claim.taken)
    claim.reading.end(highest, () => claim.taken.length < claim.limit, claim.horizon)
  }
  for (const step of script) {
    switch (step.does) {
      case 'insert':
        model.waiting.add(model.next)
        // Committed and woken for in one: the wake-up comes at once.
        frontier.lower(model.next)
        model.next += 1
        break
      case 'begin':
        model.invisible.add(model.next)
        model.next += 1
        break
      case 'commit': {
        const place = [...model.invisible][step.which % Math.max(1, model.invisible.size)]
        if (place === undefined) break
        model.invisible.delete(place)
        model.waiting.add(place)
        if (step.wakes) frontier.lower(place)
        else model.silent.add(place)
        break
      }
      case 'ask': {
        if (asked.length === 2) break
        const reading = frontier.read()
        const from = frontier.places[priority] as number
        const taken = [...model.waiting]
          .filter((place) => place >= from)
          .toSorted((a, b) => a - b)
          .slice(0, step.limit)
        for (const place of taken) model.waiting.delete(place)
        asked.push({ reading, taken, limit: step.limit, horizon })
        break
      }
      case 'answer':
        if (asked.length > 0) answer(step.which)
        break
      case 'sweep':
        horizon = model.next
        model.silent.clear()
        frontier.sweep()
        break
    }
  }
  while (asked.length > 0) answer(0)
}

test('no visible waiting job is below the frontier once its wake-up or a sweep has come', () => {
  fc.assert(
    fc.property(steps, (script) => {
      const model: Model = {
        waiting: new Set(),
        invisible: new Set(),
        silent: new Set(),
        next: 1,
      }
      const frontier = new Frontier()
      play(model, frontier, script)
      const from = frontier.places[priority] as number
      for (const place of model.waiting) {
        assert.ok(place >= from || model.silent.has(place), `${place} is below ${from}`)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('the frontier follows what is taken, and a sweep starts from the bottom', () => {
  const frontier = new Frontier()
  const highest: (number | undefined)[] = []
  highest[3] = 41
  frontier.read().end(highest, () => false, undefined)
  assert.equal(frontier.places[3], 42)
  assert.equal(frontier.places[4], 0)
  frontier.read().end([], (at) => at === 4, 100)
  assert.deepEqual([frontier.places[3], frontier.places[4]], [42, 100])
  frontier.sweep()
  assert.deepEqual(
    frontier.places,
    Array.from({ length: PRIORITIES }, () => 0),
  )
})

test('a claim that began before a sweep does not undo it, nor what a later claim found', () => {
  const frontier = new Frontier()
  const highest: (number | undefined)[] = []
  highest[3] = 41
  const before = frontier.read()
  frontier.sweep()
  const after = frontier.read()
  before.end(highest, () => true, 100)
  assert.deepEqual([frontier.places[3], frontier.places[4]], [0, 0])
  const late = frontier.read()
  frontier.lower(7)
  after.end([], () => true, 50)
  assert.equal(frontier.places[3], 7)
  const latest = frontier.read()
  latest.end(highest, () => true, 100)
  late.end(highest, () => true, 100)
  assert.deepEqual([frontier.places[3], frontier.places[4]], [100, 100])
})

test('a claim that fails raises nothing', () => {
  const frontier = new Frontier()
  const reading = frontier.read()
  frontier.lower(7)
  reading.abandon()
  assert.equal(frontier.places[0], 0)
})
