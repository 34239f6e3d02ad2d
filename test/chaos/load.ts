import { setTimeout as sleep } from 'node:timers/promises'
import type { ChaosRun } from './chaos-run.ts'
import type { ProduceOptions } from './producer.ts'

/** As much is left to do before the load waits; and how often it looks, for how long at most, in milliseconds. */
const MOST_LEFT = 100
const LOOK_MS = 100
const PATIENCE_MS = 1_000

/**
 * Produces again and again, whatever comes of it, until the function that is given back has been called. A machine that is
 * busy with other things gets less to do.
 */
export function underLoad(run: ChaosRun, options: ProduceOptions = {}): () => Promise<void> {
  let over = false
  const load = (async () => {
    while (!over) {
      await run.producer.produce(20, { persistent: false, ...options })
      await sleep(LOOK_MS)
      const since = performance.now()
      while (!over && performance.now() - since < PATIENCE_MS && (await left(run)) > MOST_LEFT)
        await sleep(LOOK_MS)
    }
  })()
  // Whoever never ends it hears of it all the same.
  load.catch(() => {})
  return async () => {
    over = true
    await load
  }
}

/** How much is left to do, about. */
async function left(run: ChaosRun): Promise<number> {
  try {
    const { rows } = await run.pool.query<{ read: number; jobs: number }>(
      `select (select coalesce(sum(records), 0)::int from millrace.batch) as read,
         (select count(*)::int from millrace.job) as jobs`,
    )
    const { read = 0, jobs = 0 } = rows[0] ?? {}
    return Math.max(run.producer.acknowledged - read, jobs)
  } catch {
    // The database is away, perhaps because the scenario took it away.
    return 0
  }
}
