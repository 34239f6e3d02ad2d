import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { insertJobs, PLACES_PER_DRAW } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { CLAIM, claimJobs, readHorizon } from '../../../src/worker/claim.ts'
import { gate, jobsBed, type JobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const numbered = z.object({ n: z.int() })
const plain = job('plain', { args: numbered, handle() {} })

async function places(bed: JobsBed, frontier: readonly number[], limit: number): Promise<number[]> {
  const claimed = await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['plain'],
    limit,
    processId: bed.core.ids.uuid(),
    token: bed.core.ids.uuid(),
    frontier,
  })
  return claimed.map(({ place }) => place).toSorted((a, b) => a - b)
}

test('a claim takes no more than its limit, from the frontier on, over priorities in order', async (t) => {
  const bed = await jobsBed(t)
  const all = [5, 5, 5, 1, 9].map((priority, n) => newJob(bed.core, plain, { n }, { priority }))
  await insertJobs(bed.pool, all)
  const bottom = Array.from({ length: 10 }, () => 0)
  assert.deepEqual(await places(bed, bottom, 2), [1, 4])
  assert.deepEqual(
    await places(
      bed,
      bottom.map((place, priority) => (priority === 5 ? 3 : place)),
      10,
    ),
    [3, 5],
  )
  assert.equal(await readHorizon(bed.pool), 1 + PLACES_PER_DRAW)
  assert.deepEqual(await places(bed, bottom, 10), [2])
})

test('the claim looks at nothing below the frontier', async (t) => {
  const bed = await jobsBed(t)
  await insertJobs(
    bed.pool,
    Array.from({ length: 5_000 }, (_, n) => newJob(bed.core, plain, { n })),
  )
  await bed.pool.query('vacuum analyze millrace.job')
  const { rows } = await bed.pool.query<{ 'QUERY PLAN': string }>(`explain (costs off) ${CLAIM}`, [
    '{0,0,0,0,0,4000,0,0,0,0}',
    'default',
    '{plain}',
    10,
    bed.core.ids.uuid(),
    null,
  ])
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  assert.match(plan, /Index Scan using job_claim/)
  assert.match(plan, /Index Cond: .*hashtextextended.*place >= f\.place/)
})

test('a job inserted by a long transaction, below the frontier of the time, is found', async (t) => {
  const bed = await jobsBed(t)
  const seen: number[] = []
  const note = job('note', {
    args: numbered,
    handle({ n }) {
      seen.push(n)
    },
  })
  await bed.work([note])
  const client = await bed.pool.connect()
  try {
    await client.query('begin')
    await insertJobs(client, [newJob(bed.core, note, { n: 0 })])
    for (let n = 1; n <= 20; n += 1) await bed.insert(note, { n })
    await eventually(() => seen.length === 20)
    await client.query('commit')
  } finally {
    client.release()
  }
  await eventually(() => seen.includes(0))
  assert.equal(seen.length, 21)
})

test('fast jobs are claimed far ahead, slow ones only for free places', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  let slow = false
  const mixed = job('mixed', {
    args: numbered,
    async handle() {
      if (slow) await opened
    },
  })
  const insert = async (count: number): Promise<void> => {
    await insertJobs(
      bed.pool,
      Array.from({ length: count }, (_, n) => newJob(bed.core, mixed, { n })),
    )
  }
  await insert(5_000)
  await bed.work([mixed], { queues: { default: 5 } })
  const history = async (): Promise<number> =>
    (await bed.pool.query('select count(*)::int as n from millrace.job_history')).rows[0].n
  await eventually(async () => (await history()) === 5_000)
  slow = true
  await insert(2_000)
  const executing = async (): Promise<number> =>
    (await bed.pool.query(`select count(*)::int as n from millrace.job where state = 'executing'`))
      .rows[0].n
  // Claimed far ahead at first, then handed back as it shows that they take long.
  await eventually(async () => (await executing()) > 5)
  await eventually(async () => (await executing()) <= 10, { timeoutMs: 20_000 })
  slow = false
  open()
  await eventually(async () => (await history()) === 7_000)
})

test('two workers share a queue without executing a job twice', async (t) => {
  const bed = await jobsBed(t)
  const by = new Map<number, string[]>()
  const note = (name: string): ReturnType<typeof job<'plain', typeof numbered>> =>
    job('plain', {
      args: numbered,
      async handle({ n }) {
        by.set(n, [...(by.get(n) ?? []), name])
        await new Promise((resolve) => setImmediate(resolve))
      },
    })
  await insertJobs(
    bed.pool,
    Array.from({ length: 2_000 }, (_, n) => newJob(bed.core, plain, { n })),
  )
  await Promise.all([bed.work([note('a')]), bed.work([note('b')])])
  await eventually(() => by.size === 2_000)
  assert.ok([...by.values()].every((names) => names.length === 1))
})
