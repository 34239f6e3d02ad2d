import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { listGaps, resumeConsumers } from '../../src/consumer/queries.ts'
import { flooded, newOrders, ordered1, ordered2, orders, type Flooded } from '../support/flooded.ts'
import { spawnNode, type Scenario } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import { BRAKE_FAILPOINTS, type Trap } from './failpoints.ts'
import type { FloodConfig } from './flood-worker.ts'

const APP = { application: 'app' } as const
const PARTITIONS = 4
const GOOD = 60
const ALL = 1_260

/** What the killing of one process is about, and what must hold after it and at the end. */
interface Bed {
  readonly all: Flooded
  worker(code: FloodConfig['code'], trap?: Trap): Scenario
  /** Waits until all partitions are stopped `times` times; nothing is set aside, and all that is good is done. */
  stoppedAgain(times: number): Promise<void>
}

async function setup(t: TestContext): Promise<Bed> {
  const all = await flooded(t, { partitions: PARTITIONS })
  await all.producer.publishMany(ordered1, orders(0, GOOD))
  await all.producer.publishMany(ordered2, newOrders(GOOD, ALL))
  return {
    all,
    worker(code, trap) {
      const config: FloodConfig = {
        databaseUrl: all.url,
        code,
        batchRecords: 100,
        ...(trap === undefined ? {} : { trap }),
      }
      return spawnNode(t, new URL('./flood-worker.ts', import.meta.url), {
        env: { CHAOS_FLOOD: JSON.stringify(config) },
      })
    },
    async stoppedAgain(times) {
      await eventually(async () => (await listGaps(all.pool, APP)).length === times * PARTITIONS)
      await all.stopped(PARTITIONS)
      assert.equal(await all.deadLetters(), 0)
      assert.equal((await all.done()).length, GOOD)
    },
  }
}

async function killedThere(doomed: Scenario): Promise<void> {
  await doomed.waitFor('trap', { timeoutMs: 60_000 })
  await doomed.exited
}

function assertInOrder(done: readonly { n: number; customer: string }[]): void {
  const last = new Map<string, number>()
  for (const { n, customer } of done) {
    assert.ok(n > (last.get(customer) ?? -1), `${n} of ${customer} is twice there, or too late`)
    last.set(customer, n)
  }
}

test('sets nothing aside and handles all once when a process is killed while it stops a partition', {
  concurrency: 2,
}, async (t) => {
  await Promise.all(
    BRAKE_FAILPOINTS.map((name) =>
      t.test(`at ${name}`, async (inner) => {
        const { all, worker, stoppedAgain } = await setup(inner)
        await killedThere(worker('old', { name, count: 2, signal: 'SIGKILL' }))
        assert.equal(await all.deadLetters(), 0)
        // Another one with the same code takes over; and then stops anew what is tried again.
        const other = worker('old')
        await stoppedAgain(1)
        await resumeConsumers(all.operator, APP)
        await stoppedAgain(2)
        other.kill('SIGKILL')
        await other.exited
        // The fixed one dies in the middle of its work.
        await resumeConsumers(all.operator, APP)
        await killedThere(
          worker('new', { name: 'batch:before-commit', count: 6, signal: 'SIGKILL' }),
        )
        worker('new')
        await eventually(async () => (await all.done()).length >= ALL)
        const done = await all.done()
        assert.equal(done.length, ALL)
        assertInOrder(done)
        assert.equal(await all.deadLetters(), 0)
      }),
    ),
  )
})

test('sets every accepted failure aside once when a process is killed in the middle of it', async (t) => {
  const { all, worker, stoppedAgain } = await setup(t)
  const doomed = worker('old', { name: 'batch:after-commit', count: 9, signal: 'SIGKILL' })
  await stoppedAgain(1)
  await resumeConsumers(all.operator, APP, { acceptFailures: { reason: 'really bad' } })
  await killedThere(doomed)
  worker('old')
  await eventually(async () => (await all.deadLetters()) >= ALL - GOOD)
  const { rows } = await all.pool.query<{ n: number; offsets: number }>(
    'select count(*)::int as n, count(distinct (topic_id, partition, "offset"))::int as offsets from millrace.dead_letter',
  )
  assert.deepEqual(rows, [{ n: ALL - GOOD, offsets: ALL - GOOD }])
  assert.equal((await all.done()).length, GOOD)
  assert.deepEqual(await all.stops(), [])
})
