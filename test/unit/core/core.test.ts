import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { CancelReason, StopReason } from '../../../src/core/abort.ts'
import { backoffMs } from '../../../src/core/backoff.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { forEachConcurrently } from '../../../src/core/concurrency.ts'
import { parseDuration } from '../../../src/core/duration.ts'
import { createIds, isUuid } from '../../../src/core/ids.ts'
import { createLoop } from '../../../src/core/loop.ts'
import { seededRandom } from '../../../src/core/random.ts'

describe('ids', () => {
  it('grow within a millisecond, also when the clock goes back', () => {
    const times = [1_000, 1_000, 999, 500, 1_001, 1_001]
    let turn = 0
    const clock = {
      ...systemClock,
      now: () => new Date(times[Math.min(turn++, times.length - 1)] as number),
    }
    const ids = createIds(clock, seededRandom(1))
    const made = times.map(() => ids.uuid())
    assert.deepEqual(made, made.toSorted())
    assert.equal(new Set(made).size, made.length)
  })

  it('are version 7 of the right variant and carry the time', () => {
    const clock = { ...systemClock, now: () => new Date(Date.UTC(2026, 10, 22)) }
    const id = createIds(clock, seededRandom(2)).uuid()
    assert.ok(isUuid(id))
    assert.equal(id[14], '7')
    assert.match(id[19] as string, /[89ab]/)
    assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), Date.UTC(2026, 10, 22))
  })

  it('go on growing when more than 4,096 are made in a millisecond', () => {
    const clock = { ...systemClock, now: () => new Date(5_000) }
    const ids = createIds(clock, seededRandom(3))
    const made = Array.from({ length: 10_000 }, () => ids.uuid())
    assert.deepEqual(made, made.toSorted())
    assert.equal(new Set(made).size, made.length)
  })
})

describe('back-off', () => {
  it('never waits less than its full length less the jitter, nor more than the limit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.double({ min: 1, max: 10, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(),
        (attempt, baseMs, factor, jitter, seed) => {
          const maxMs = 3_600_000
          const wait = backoffMs(attempt, seededRandom(seed), { baseMs, factor, jitter, maxMs })
          const full = Math.min(maxMs, baseMs * factor ** (attempt - 1))
          assert.ok(wait >= 1 && wait <= Math.max(1, Math.round(full)))
          assert.ok(wait >= Math.floor(full * (1 - jitter)))
        },
      ),
    )
  })
})

describe('durations', () => {
  it('are numbers of milliseconds or texts with a unit', () => {
    assert.equal(parseDuration('250ms'), 250)
    assert.equal(parseDuration('1.5s'), 1_500)
    assert.equal(parseDuration('15m'), 900_000)
    assert.equal(parseDuration('2h'), 7_200_000)
    assert.equal(parseDuration('7d'), 604_800_000)
    assert.equal(parseDuration(42), 42)
  })

  it('are nothing else', () => {
    for (const text of ['', '5', 's', '-1s', '1 s', '1w', '1e3s'])
      assert.equal(parseDuration(text), undefined, text)
    for (const number of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      assert.equal(parseDuration(number), undefined)
  })
})

describe('bounded concurrency', () => {
  it('never runs more than the limit, starts in order, and does everything', async () => {
    let running = 0
    let most = 0
    const started: number[] = []
    await forEachConcurrently(
      Array.from({ length: 50 }, (_, i) => i),
      4,
      async (item) => {
        started.push(item)
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
      },
    )
    assert.equal(most, 4)
    assert.deepEqual(
      started,
      started.toSorted((a, b) => a - b),
    )
    assert.equal(started.length, 50)
  })

  it('starts nothing more after a failure, and throws the first once the others have ended', async () => {
    const ended: number[] = []
    await assert.rejects(
      forEachConcurrently([1, 2, 3, 4, 5], 2, async (item) => {
        await new Promise((resolve) => setImmediate(resolve))
        if (item === 1) throw new Error('the first')
        ended.push(item)
      }),
      /the first/,
    )
    assert.deepEqual(ended, [2])
  })
})

describe('a loop', () => {
  it('does nothing before start and after stop, and may be stopped twice', async () => {
    let turns = 0
    const loop = createLoop({
      clock: systemClock,
      intervalMs: 1,
      turn: async () => {
        turns += 1
      },
      onError: (error) => assert.fail(String(error)),
    })
    loop.wake()
    assert.equal(turns, 0)
    loop.start()
    await loop.stop()
    const after = turns
    loop.start()
    loop.wake()
    await loop.stop()
    assert.equal(turns, after)
  })

  it('takes a turn at once when it is woken, also by what the turn itself did', async () => {
    let turns = 0
    const done = Promise.withResolvers<void>()
    const loop = createLoop({
      clock: systemClock,
      intervalMs: 3_600_000,
      turn: async () => {
        turns += 1
        if (turns < 3) loop.wake()
        else done.resolve()
      },
      onError: (error) => assert.fail(String(error)),
    })
    loop.start()
    await done.promise
    await loop.stop()
    assert.equal(turns, 3)
  })

  it('goes on after an error', async () => {
    const errors: unknown[] = []
    const done = Promise.withResolvers<void>()
    let turns = 0
    const loop = createLoop({
      clock: systemClock,
      intervalMs: 1,
      turn: async () => {
        turns += 1
        if (turns === 1) throw new Error('once')
        done.resolve()
      },
      onError: (error) => errors.push(error),
    })
    loop.start()
    await done.promise
    await loop.stop()
    assert.equal(errors.length, 1)
  })
})

describe('sleep', () => {
  it('rejects with the reason of its signal, before and while it waits', async () => {
    const early = new AbortController()
    early.abort(new CancelReason('early'))
    await assert.rejects(systemClock.sleep(60_000, { signal: early.signal }), CancelReason)
    const late = new AbortController()
    const sleeping = systemClock.sleep(60_000, { signal: late.signal })
    late.abort(new StopReason())
    await assert.rejects(sleeping, StopReason)
  })
})
