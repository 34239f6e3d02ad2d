import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { Reservations } from '../../../src/worker/reservations.ts'

/** A clock whose timer goes off when it is told to. */
function timer(): {
  readonly clock: Clock
  goOff(): void
  pass(ms: number): void
  readonly pending: number
} {
  const actions = new Set<() => void>()
  let nowMs = 0
  return {
    pass: (ms) => {
      nowMs += ms
    },
    clock: {
      ...systemClock,
      monotonicMs: () => nowMs,
      after(_, action) {
        actions.add(action)
        return () => actions.delete(action)
      },
    },
    goOff: () => {
      for (const action of actions) action()
    },
    get pending() {
      return actions.size
    },
  }
}

function line(places: number): {
  readonly state: { places: number; worthIt: boolean }
  readonly reservations: Reservations
  readonly timers: ReturnType<typeof timer>
} {
  const state = { places, worthIt: true }
  const timers = timer()
  const reservations: Reservations = new Reservations({
    clock: timers.clock,
    free: () => state.places - reservations.promised,
    isWorthWaiting: () => state.worthIt,
  })
  return { state, reservations, timers }
}

const { signal } = new AbortController()
const how = { mayWait: true, signal }

test('places are promised first come, first served, and all that was asked for at once', async () => {
  const { state, reservations } = line(500)
  assert.equal(await reservations.ask(400, how), 400)
  const served: string[] = []
  const second = reservations.ask(300, how).then((places) => served.push(`second ${places}`))
  // Enough for this one, but it came later.
  const third = reservations.ask(100, how).then((places) => served.push(`third ${places}`))
  await Promise.resolve()
  assert.deepEqual([served, reservations.promised], [[], 400])
  reservations.giveBack(400)
  await Promise.all([second, third])
  assert.deepEqual([served, reservations.promised], [['second 300', 'third 100'], 400])
  state.places = 0
  reservations.giveBack(400)
  assert.equal(reservations.promised, 0)
})

test('what there is, is given at once where it is not worth waiting for more', async () => {
  const { state, reservations } = line(10)
  state.worthIt = false
  assert.equal(await reservations.ask(500, how), 10)
  assert.equal(await reservations.ask(500, how), 0)
})

test('who may not wait gets what there is, and nothing that others are waiting for', async () => {
  const { reservations } = line(300)
  const hasty = { mayWait: false, signal }
  assert.equal(await reservations.ask(200, hasty), 200)
  const waiting = reservations.ask(200, how)
  assert.equal(await reservations.ask(100, hasty), 0)
  reservations.giveBack(200)
  assert.equal(await waiting, 200)
  assert.equal(await reservations.ask(200, hasty), 100)
})

test('a wait ends when its reason has gone, at the limit, and with its signal; with what there is', async () => {
  const { state, reservations, timers } = line(30)
  const first = reservations.ask(100, how)
  state.worthIt = false
  reservations.serve()
  assert.equal(await first, 30)
  state.worthIt = true
  state.places = 35
  const second = reservations.ask(100, how)
  timers.goOff()
  assert.equal(await second, 5)
  // What was waited for in vain is not waited for again, for a while.
  assert.equal(await reservations.ask(100, how), 0)
  timers.pass(5_000)
  const stopping = new AbortController()
  const third = reservations.ask(100, { mayWait: true, signal: stopping.signal })
  stopping.abort()
  assert.equal(await third, 0)
  assert.equal(await reservations.ask(100, { mayWait: true, signal: stopping.signal }), 0)
  assert.equal(timers.pending, 0)
})
