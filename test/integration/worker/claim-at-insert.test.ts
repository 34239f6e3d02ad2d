import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job, type JobDefinition } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { transaction, type Transaction } from '../../../src/postgres/transaction.ts'
import { Heartbeat } from '../../../src/process/heartbeat.ts'
import type { ClaimAtInsert } from '../../../src/worker/claim-at-insert.ts'
import type { Worker } from '../../../src/worker/worker.ts'
import { gate, jobsBed, type JobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const args = z.object({ n: z.int() })
type Numbered = JobDefinition<string, { n: number }, unknown>
const how = { mayWait: true, signal: new AbortController().signal }

/** A job that counts how often it is executed. */
function counting(): { readonly job: Numbered; calls: number } {
  const it = {
    calls: 0,
    job: job('plain', {
      args,
      handle() {
        it.calls += 1
      },
    }),
  }
  return it
}

async function reserve(worker: Worker, { queue, kind }: Numbered, wanted: number) {
  const reservation = await worker.reserve({ queue, kind }, wanted, how)
  assert.ok(reservation)
  return reservation
}

/** Reserves so many places; there are none for the moment in which the line is looked through. */
function reserved(worker: Worker, definition: Numbered, places: number): Promise<ClaimAtInsert> {
  return eventually(async () => {
    const reservation = await reserve(worker, definition, places)
    if (reservation.places === places) return reservation
    reservation[Symbol.dispose]()
    throw new Error(`there are ${reservation.places} places`)
  })
}

/** Inserts `count` jobs through the reservation, and gives their ids. */
async function insert(
  { core }: JobsBed,
  reservation: ClaimAtInsert,
  tx: Transaction,
  definition: Numbered,
  count: number,
): Promise<string[]> {
  const jobs = Array.from({ length: count }, (_, n) => newJob(core, definition, { n }))
  await reservation.insert(tx, jobs)
  return jobs.map(({ id }) => id)
}

/** How many jobs there are in the history, and how many of them were claimed in the statement that made them. */
async function finished({ pool }: JobsBed): Promise<{ all: number; atInsert: number }> {
  const { rows } = await pool.query<{ all: number; atInsert: number }>(
    `select count(*)::int as all, count(*) filter (where attempted_at = created_at and attempt = 1)::int as "atInsert"
     from millrace.job_history where state = 'completed'`,
  )
  return rows[0] as { all: number; atInsert: number }
}

test('what there are places for is claimed as it is inserted and starts after the commit; the rest stands in line', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const handled: number[] = []
  const slow = job('slow', {
    args,
    async handle({ n }) {
      handled.push(n)
      await opened
    },
  })
  const { worker, heartbeat } = await bed.work([slow], { queues: { default: 2 } })
  using reservation = await reserved(worker, slow, 2)
  using none = await reserve(worker, slow, 5)
  assert.equal(none.places, 0)
  const ids = await transaction(bed.pool, bed.core, async (tx) => {
    const inserted = await insert(bed, reservation, tx, slow, 5)
    const { rows } = await tx.query<{ state: string; process_id: string | null }>(
      'select state, process_id from millrace.job order by place',
    )
    const mine = { state: 'executing', process_id: heartbeat.id }
    const waits = { state: 'available', process_id: null }
    assert.deepEqual(rows, [mine, mine, waits, waits, waits])
    assert.deepEqual(handled, [])
    return inserted
  })
  assert.deepEqual(handled, [0, 1])
  open()
  for (const id of ids) assert.equal((await bed.untilState(id, 'completed')).attempt, 1)
  assert.deepEqual(handled.toSorted(), [0, 1, 2, 3, 4])
  assert.deepEqual(await finished(bed), { all: 5, atInsert: 2 })
})

test('a rolled back insert starts nothing, and its places are free again', async (t) => {
  const bed = await jobsBed(t)
  const plain = counting()
  const { worker } = await bed.work([plain.job], { queues: { default: 1 } })
  {
    using reservation = await reserved(worker, plain.job, 1)
    const failing = transaction(bed.pool, bed.core, async (tx) => {
      await insert(bed, reservation, tx, plain.job, 1)
      throw new Error('not this one')
    })
    await assert.rejects(failing, /not this one/)
  }
  using reservation = await reserved(worker, plain.job, 1)
  const [id] = await transaction(bed.pool, bed.core, (tx) =>
    insert(bed, reservation, tx, plain.job, 1),
  )
  await bed.untilState(id as string, 'completed')
  assert.deepEqual([plain.calls, await finished(bed)], [1, { all: 1, atInsert: 1 }])
})

test('jobs whose commit nobody heard of are handed back, and executed once', async (t) => {
  const bed = await jobsBed(t)
  const plain = counting()
  const { worker } = await bed.work([plain.job])
  const reservation = await reserved(worker, plain.job, 3)
  const [id] = await transaction(bed.pool, bed.core, (tx) =>
    insert(bed, reservation, { ...tx, afterCommit: () => {} }, plain.job, 3),
  )
  // While the batch is under way, nobody takes them for lost.
  await new Promise((resolve) => setTimeout(resolve, 400))
  assert.deepEqual([plain.calls, (await bed.get(id as string)).state], [0, 'executing'])
  reservation[Symbol.dispose]()
  await eventually(async () => (await finished(bed)).all === 3)
  assert.deepEqual([plain.calls, await finished(bed)], [3, { all: 3, atInsert: 0 }])
  assert.equal((await bed.get(id as string)).attempt, 1)
})

test('the maker of jobs waits for places while jobs are fast and no other process is there, and only then', async (t) => {
  const bed = await jobsBed(t)
  const plain = counting()
  const { worker, heartbeat } = await bed.work([plain.job], { takeOverMs: 600 })
  const many = Array.from({ length: 200 }, (_, n) => newJob(bed.core, plain.job, { n }))
  await insertJobsNow(bed, many)
  await eventually(async () => (await finished(bed)).all === 200)
  const room: ClaimAtInsert[] = []
  let waiting: Promise<ClaimAtInsert>
  for (;;) {
    let arrived = false
    waiting = reserve(worker, plain.job, 100).then((got) => {
      arrived = true
      return got
    })
    await new Promise((resolve) => setImmediate(resolve))
    if (!arrived) break
    room.push(await waiting)
    assert.equal(room.at(-1)?.places, 100)
  }
  room[0]?.[Symbol.dispose]()
  using got = await waiting
  assert.equal(got.places, 100)

  const other = new Heartbeat({ core: bed.core, pool: bed.pool, applications: [] })
  await other.start()
  await eventually(() => !heartbeat.alone)
  using none = await reserve(worker, plain.job, 1_000)
  assert.ok(none.places < 100)
  await other.stop()
  await eventually(() => heartbeat.alone)
  for (const taken of room) taken[Symbol.dispose]()
})

test('there are places only for what is executed here, and while it may be started', async (t) => {
  const bed = await jobsBed(t)
  const plain = counting()
  const { worker } = await bed.work([plain.job])
  assert.equal(await worker.reserve({ queue: 'default', kind: 'other' }, 1, how), undefined)
  assert.equal(await worker.reserve({ queue: 'other', kind: 'plain' }, 1, how), undefined)
  const heartbeat = { id: bed.core.ids.uuid(), alive: false, alone: true, onLapse: () => () => {} }
  const idle = await bed.work([plain.job], { heartbeat })
  using reservation = await reserve(idle.worker, plain.job, 1)
  assert.equal(reservation.places, 0)
})
