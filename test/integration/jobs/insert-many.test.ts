import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { start, type Millrace } from '../../../src/app/start.ts'
import { job } from '../../../src/jobs/job.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { postgresProxy, type CutSide } from '../../support/proxy.ts'
import { eventually } from '../../support/wait.ts'

/** Several statements' worth. */
const MANY = 5_000
const seen: number[] = []
const count = job('count', {
  args: z.object({ n: z.int() }),
  queue: 'many',
  handle: ({ n }) => void seen.push(n),
})
const args = (length: number = MANY): { n: number }[] => Array.from({ length }, (_, n) => ({ n }))

async function inserter(t: TestContext, url: string, works = false): Promise<Millrace> {
  const millrace = await start({
    database: url,
    logger: silentLogger,
    jobs: [count],
    queues: works ? { many: 20 } : false,
  })
  cleanup(t, () => millrace.stop())
  return millrace
}

async function stored(millrace: Millrace): Promise<number[]> {
  const { rows } = await millrace.database.query<{ n: number }>(
    `select (args->>'n')::int as n from millrace.job order by place`,
  )
  return rows.map(({ n }) => n)
}

test('thousands of jobs are inserted in their order, counted, and worked off', async (t) => {
  const { url } = await testDatabase(t)
  const millrace = await inserter(t, url, true)
  seen.length = 0
  const ids = await millrace.insertMany(count, args())
  assert.equal(new Set(ids).size, MANY)
  await eventually(() => seen.length === MANY)
  assert.deepEqual(
    seen.toSorted((a, b) => a - b),
    args().map(({ n }) => n),
  )
  await eventually(async () => (await millrace.summary()).jobsCompleted === MANY)
})

test('what is inserted is what was given, though the list is used again meanwhile', async (t) => {
  const { url } = await testDatabase(t)
  const millrace = await inserter(t, url)
  const list = args()
  const inserted = millrace.insertMany(count, list)
  list.length = 0
  assert.equal((await inserted).length, MANY)
  assert.deepEqual(
    await stored(millrace),
    args().map(({ n }) => n),
  )
})

test('an invalid one among thousands leaves none of them, with and without a transaction around', async (t) => {
  const { url } = await testDatabase(t)
  const millrace = await inserter(t, url)
  const invalid = { code: 'E_EVENT_INVALID' }
  for (const at of [1, MANY - 1]) {
    const some = args().with(at, { n: 0.5 })
    await assert.rejects(millrace.insertMany(count, some), invalid)
    assert.deepEqual(await stored(millrace), [])
  }
  // Who catches it and goes on keeps what is his own, and nothing else.
  await millrace.transaction(async (tx) => {
    await tx.insert(count, { n: 7 })
    await assert.rejects(tx.insertMany(count, args().with(MANY - 1, { n: 0.5 })), invalid)
  })
  assert.deepEqual(await stored(millrace), [7])
})

test('what the server refuses in the middle leaves none, and the next insert goes well', async (t) => {
  const { url } = await testDatabase(t)
  const millrace = await inserter(t, url)
  await millrace.database.query(
    `alter table millrace.job add constraint planted check (args->>'n' <> '3456')`,
  )
  await assert.rejects(millrace.insertMany(count, args()), { constraint: 'planted' })
  assert.deepEqual(await stored(millrace), [])
  assert.equal((await millrace.insertMany(count, args(3_000))).length, 3_000)
})

for (const side of ['request', 'reply'] satisfies CutSide[]) {
  test(`thousands are there or not when their COMMIT is cut at its ${side}, and it is said`, async (t) => {
    const { url } = await testDatabase(t)
    const proxy = await postgresProxy(url)
    cleanup(t, async () => proxy[Symbol.asyncDispose]())
    const millrace = await inserter(t, proxy.through(url))
    const cut = proxy.cutCommit(side, ({ statements }) =>
      statements.includes('millrace:job-insert'),
    )
    const inserted = millrace.insertMany(count, args())
    if (side === 'request')
      await assert.rejects(inserted, { code: 'E_DB_CONNECT', retryable: true })
    else assert.equal((await inserted).length, MANY)
    await cut
    assert.equal((await stored(millrace)).length, side === 'request' ? 0 : MANY)
  })
}
