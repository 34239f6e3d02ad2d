import { summarizeOutbox } from '../outbox/queries.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'

/** A record that has waited for longer than this waits for somebody. */
const OLD_MS = 60_000

/** Whether what was published in transactions reaches the log. */
export async function checkOutbox(pool: Pool): Promise<Check[]> {
  const base = { id: 'outbox', title: 'outbox' }
  const { ageMs, halted, waiting } = await summarizeOutbox(pool)
  const age = ageMs === null ? 'nothing waits' : `the oldest record waits for ${seconds(ageMs)}`
  if (halted > 0) {
    return [
      {
        ...base,
        state: 'failure',
        found: `${halted} of its shards ${halted === 1 ? 'is stopped, and sends' : 'are stopped, and send'} nothing; ${age}`,
        fix: 'millrace outbox status says why; somebody has to decide: millrace outbox accept',
      },
    ]
  }
  if (waiting.length > 0) {
    return [
      {
        ...base,
        state: 'warning',
        found: `${age}: ${[...new Set(waiting)].join('; ')}`,
        fix: 'Mend what it waits for; nothing is lost, and it goes on by itself.',
      },
    ]
  }
  if (ageMs !== null && ageMs > OLD_MS) {
    return [
      {
        ...base,
        state: 'warning',
        found: age,
        fix: 'Run a process that relays (not with relay: false), and end transactions that have been open for long.',
      },
    ]
  }
  return [{ ...base, state: 'ok', found: age }]
}

function seconds(ms: number): string {
  return ms < 10_000 ? `${ms} ms` : `${Math.round(ms / 1_000)} s`
}
