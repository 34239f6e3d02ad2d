import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/core/random.ts'
import { entriesOf } from '../support/checker/history.ts'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import type { EventVersion } from './application.ts'
import { ChaosRun, type ChaosWorker } from './chaos-run.ts'
import { underLoad } from './load.ts'
import type { ScenarioOptions } from './scenarios.ts'

/** How many processes there are. */
const PROCESSES = 3

/**
 * A new version of an event is brought in under load, in the order in which a team has to do it: first the processes that
 * read it, one after the other, each stopped in good order and replaced by one that knows version 2 and reads version 1 by
 * an upcaster; then those that publish it, so that for a while both versions come. Meanwhile the readers are replaced once
 * more. Needs Kafka, where the producer says each record's version.
 */
export async function newVersionRolledOut(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'a new version of an event',
    database: await testDatabase(t),
    partitions: 6,
    workers: { batchRecords: 10, takeOverMs: 3_000 },
    ...options,
  })
  const random = seededRandom(run.seed + 10)
  const workers = Array.from({ length: PROCESSES }, (_, n) => run.worker({ name: `old-${n}` }))
  await Promise.all(workers.map((worker) => worker.ready()))
  let publishing: 'old' | 'both' | 'new' = 'old'
  const versions = new Map<string, EventVersion>()
  const version = (n: number): EventVersion => {
    const drawn = publishing === 'old' || (publishing === 'both' && n % 2 === 0) ? 1 : 2
    versions.set(String(n), drawn)
    return drawn
  }
  const end = underLoad(run, { version })
  const replace = async (name: string): Promise<void> => {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(500 + random.next() * 500)
    const old = workers.shift() as ChaosWorker
    const at = Date.now()
    old.kill('SIGTERM')
    const { code } = await old.exited
    const next = run.worker({ name, eventVersion: 2 })
    workers.push(next)
    await next.ready()
    // It takes part before the next one goes.
    await eventually(() => executedBy(run, name).length > 0)
    run.fault('restart', old.name, at, { seen: code === 0, text: `ended with code ${code}` })
  }
  for (let n = 0; n < PROCESSES; n += 1) await replace(`new-${n}`)
  publishing = 'both'
  await replace('newer')
  publishing = 'new'
  await end()
  const counts = await handled(run, versions)
  run.fault('two versions', 'the topic', Date.now(), {
    seen: ['old 1', 'new 1', 'new 2'].every((what) => counts.has(what)),
    text: [...counts].map(([what, count]) => `${what}: ${count}`).join(', '),
  })
  await run.quiet(60_000)
  return run
}

function executedBy(run: ChaosRun, worker: string): readonly string[] {
  return entriesOf(run.history(), 'executed')
    .filter((entry) => entry.worker === worker)
    .map(({ execution }) => execution)
}

/** How many records old and new processes have handled for good, by version: `new 1`. */
async function handled(
  run: ChaosRun,
  versions: ReadonlyMap<string, EventVersion>,
): Promise<ReadonlyMap<string, number>> {
  const workers = new Map(
    entriesOf(run.history(), 'executed').map(({ execution, worker }) => [execution, worker]),
  )
  const { rows } = await run.pool.query<{ id: string; execution: string }>(
    `select event_id as id, execution from observer.effect where source = 'record'`,
  )
  const counts = new Map<string, number>()
  for (const { id, execution } of rows) {
    const age = workers.get(execution)?.startsWith('old') ? 'old' : 'new'
    const what = `${age} ${versions.get(numberOf(id))}`
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  return counts
}

/** The number of a record, from its event's id: `event-<seed>-<number>`, and `~<try>` if it was appended once more. */
const numberOf = (id: string): string => /-(\d+)(?:~|$)/.exec(id)?.[1] ?? ''
