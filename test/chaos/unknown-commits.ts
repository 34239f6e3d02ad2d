import type { TestContext } from 'node:test'
import { entriesOf } from '../support/checker/history.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { postgresProxy, type Commit, type CutSide } from '../support/proxy.ts'
import { eventually } from '../support/wait.ts'
import type { Behaviour } from './application.ts'
import { ChaosRun } from './chaos-run.ts'
import type { ScenarioOptions } from './scenarios.ts'

const TRIED_AGAIN = 'a batch failed and is tried again'
const NOT_WRITTEN = 'results could not be written yet'
const COMMITTED = 'the reply to COMMIT was lost; the transaction had committed'

/** The transactions whose COMMIT is cut, by a statement that only they have. */
const TRANSACTIONS = {
  'of a batch': ({ statements }: Commit) => statements.includes('millrace:position-advance'),
  'of a job': ({ statements }: Commit) => statements.includes('millrace:job-complete'),
  'of an end': ({ statements }: Commit) => statements.includes('millrace:job-end'),
  'of a user': ({ statements }: Commit) => statements.includes('millrace:log-append'),
  // Not of a handler that publishes.
  'of a publisher': ({ statements }: Commit) =>
    statements.includes('millrace:outbox-append') &&
    !statements.some((label) =>
      ['millrace:position-advance', 'millrace:job-complete'].includes(label),
    ),
}

const often =
  (behaviour: Behaviour) =>
  (n: number): Behaviour =>
    n % 4 === 0 ? behaviour : 'plain'

/** The COMMIT of these transactions, or the reply to it, is lost, each twice. */
export async function unknownCommits(
  t: TestContext,
  names: readonly (keyof typeof TRANSACTIONS)[],
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const database = await testDatabase(t)
  const proxy = await postgresProxy(database.url)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const run = await ChaosRun.begin(t, {
    name: 'unknown commit',
    database,
    url: proxy.through(database.url),
    partitions: 2,
    workers: {
      batchRecords: 10,
      transactionTimeoutMs: 5_000,
      takeOverMs: 10_000,
      heartbeatMs: 200,
    },
    ...options,
  })
  const worker = run.worker({ name: 'worker' })
  await worker.ready()
  /** How often it was found out that a COMMIT whose reply was lost had taken effect, or had not. */
  const found = async (): Promise<Record<string, Record<CutSide, number>>> => {
    const { rows } = await run.pool.query<{ n: number }>(
      `select count(*)::int as n from (
         select last_error from millrace.job union all select last_error from millrace.job_history) j
       where last_error ->> 'code' = 'E_DB_CONNECT'`,
    )
    const refused = entriesOf(run.history(), 'produce').filter(({ outcome }) => outcome === 'fail')
    const producer = {
      request: refused.length,
      reply: run.lines.filter(({ message }) => message === COMMITTED).length,
    }
    return {
      'of a batch': { request: worker.logged(TRIED_AGAIN), reply: worker.logged(COMMITTED) },
      'of a job': { request: rows[0]?.n ?? 0, reply: worker.logged(COMMITTED) },
      'of an end': { request: worker.logged(NOT_WRITTEN), reply: worker.logged(COMMITTED) },
      'of a user': producer,
      'of a publisher': producer,
    }
  }
  for (const side of ['request', 'reply', 'reply', 'request'] satisfies CutSide[]) {
    for (const name of names) {
      const at = Date.now()
      const before = (await found())[name]?.[side] ?? 0
      const cut = proxy.cutCommit(side, TRANSACTIONS[name])
      // Whoever waits for a cut has something to commit.
      await run.producer.produce(
        20,
        name === 'of an end' ? { behaviour: often('job-hopeless') } : {},
      )
      const { side: made, statements } = await cut
      const after = (await eventually(async () => {
        const all = await found()
        const times = all[name]?.[side] ?? 0
        if (times > before) return times
        throw new Error(
          `nobody noticed that the ${side} to COMMIT ${name} was lost, behind ${statements.join()}: ${JSON.stringify(all)}`,
        )
      })) as number
      const what = side === 'request' ? 'aborted' : 'committed'
      run.fault(`cut of the ${side} to COMMIT`, name, at, {
        seen: made === side && statements.length > 0 && after > before,
        text: `behind ${statements.at(-1)}; found out to be ${what} ${after} times, ${before} before`,
      })
    }
  }
  await run.quiet(40_000)
  return run
}
