import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { createCore } from '../../../src/core/core.ts'
import { BackPressure } from '../../../src/consumer/back-pressure.ts'
import { addCounts, METRICS } from '../../../src/counts/counts.ts'
import { migrate } from '../../../src/postgres/migrate.ts'
import { testDatabase } from '../../support/database.ts'

interface Bed {
  readonly pressure: BackPressure
  /** Every reason that was given while somebody waited; null: reading went on. */
  readonly said: (string | null)[]
  readonly signal: AbortSignal
  /** Changes the backlog as the database has it. */
  change(delta: number): Promise<void>
  /** Done while somebody sleeps. */
  onSleep: () => Promise<void>
}

/** Limits 100 and 20, and a clock that stands still but for who sleeps. */
async function setup(t: TestContext): Promise<Bed> {
  const { pool } = await testDatabase(t)
  await migrate(pool)
  let nowMs = 0
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    async sleep(ms) {
      nowMs += ms
      await bed.onSleep()
    },
  }
  const bed: Bed = {
    pressure: new BackPressure({
      core: createCore({ clock }),
      pool,
      application: 'app',
      pauseAt: 100,
      resumeAt: 20,
    }),
    said: [],
    signal: new AbortController().signal,
    change: (delta) => addCounts(pool, [{ metric: METRICS.backlog, label: 'app', delta }]),
    onSleep: () => Promise.reject(new Error('nobody was to wait')),
  }
  return bed
}

it('nobody waits for jobs that were made and are worked off already', async (t) => {
  const { pressure, said, signal } = await setup(t)
  for (let batch = 0; batch < 10; batch += 1) {
    await pressure.ready(signal, (reason) => said.push(reason))
    pressure.added(60)
  }
  assert.deepEqual(said, [])
})

it('jobs made since the backlog was read count, and reading goes on at the lower limit', async (t) => {
  const bed = await setup(t)
  const { pressure, said, signal } = bed
  await pressure.ready(signal, (reason) => said.push(reason))
  await bed.change(150)
  pressure.added(150)
  const workedOff = [90, 39, 1]
  bed.onSleep = () => bed.change(-(workedOff.shift() ?? 0))
  await pressure.ready(signal, (reason) => said.push(reason))
  const waits = (n: number): string => `backlog of ${n} jobs: reading goes on at 20 (pauses at 100)`
  assert.deepEqual(said, [waits(150), waits(60), waits(21), null])
})

it('what is made while the backlog is read is not forgotten', async (t) => {
  const bed = await setup(t)
  const { pressure, said, signal } = bed
  // The read is under way when these are made, and cannot have seen them.
  const first = pressure.ready(signal, () => {})
  pressure.added(99)
  await first
  pressure.added(1)
  // They are committed by the next read.
  await bed.change(100)
  bed.onSleep = () => bed.change(-100)
  await pressure.ready(signal, (reason) => said.push(reason))
  assert.equal(said.length, 2)
})
