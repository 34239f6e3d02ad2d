import { migrationState } from '../postgres/migrate.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'

/** Whether the tables are those of this code. */
export async function checkMigrations(pool: Pool): Promise<Check[]> {
  const base = { id: 'migrations', title: 'migrations' }
  try {
    const { applied, pending } = await migrationState(pool)
    if (pending.length === 0)
      return [{ ...base, state: 'ok', found: `${applied.length} applied, none pending` }]
    const found = `${applied.length} applied, ${pending.length} pending: ${pending.join(', ')}`
    return [{ ...base, state: 'failure', found, fix: 'millrace migrate' }]
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error)
    return [
      {
        ...base,
        state: 'failure',
        found,
        fix: 'Deploy the code that belongs to this database, or a newer one.',
      },
    ]
  }
}

interface Parts extends Record<string, unknown> {
  readonly missing_today: string[]
  readonly missing_tomorrow: string[]
  readonly live: string[]
  readonly lapsed: string[]
  readonly upkeep: boolean
  readonly halted: string[]
  readonly paused: string[]
  readonly unread: string[]
}

/** The longest list of names that is shown. */
const SHOWN = 5

/**
 * What of millrace itself runs, waits or is stopped; but for positions in these topics, of which is told that they are of
 * another log.
 */
export async function checkParts(pool: Pool, elsewhere: readonly string[]): Promise<Check[]> {
  const { rows } = await pool.query<Parts>(
    `/* millrace:doctor-parts */ with day as (
       select d.name, p.parent || '_' || to_char((clock_timestamp() at time zone 'UTC')::date + d.ahead, 'YYYYMMDD') as part
       from (values ('today', 0), ('tomorrow', 1)) d(name, ahead), (values ('job_history'), ('job_attempt')) p(parent)
     ), live as (
       select name, applications from millrace.process where expires_at > clock_timestamp()
     )
     select
       array(select part from day where name = 'today' and to_regclass('millrace.' || part) is null order by 1) as missing_today,
       array(select part from day where name = 'tomorrow' and to_regclass('millrace.' || part) is null order by 1) as missing_tomorrow,
       array(select name from live order by 1) as live,
       array(select name from millrace.process
             where expires_at between clock_timestamp() - interval '1 day' and clock_timestamp() order by 1) as lapsed,
       exists (select from millrace.lease where expires_at > clock_timestamp()) as upkeep,
       array(select application || ' ' || topic || '/' || partition || ' (' || halted || ')' from millrace.position
             where halted is not null and topic_id <> all ($1::uuid[]) order by 1) as halted,
       array(select concat_ws('/', application, topic, partition) || ' by ' || paused_by || ' (' || reason || ')'
             from millrace.pause where expires_at is null or expires_at > clock_timestamp() order by 1) as paused,
       array(select distinct application from millrace.position
             where halted is null and application not in (select unnest(applications) from live) order by 1) as unread`,
    [elsewhere],
  )
  const parts = rows[0] as Parts
  return [
    partitions(parts),
    ...processes(parts),
    halted(parts, elsewhere.length > 0),
    paused(parts),
  ]
}

function partitions({ missing_today: today, missing_tomorrow: tomorrow }: Parts): Check {
  const base = { id: 'history.partitions', title: 'history' }
  const fix =
    "Start a process with upkeep (millrace start), or once: select millrace.ensure_days(p, 3) for p = 'job_history' and 'job_attempt'."
  if (today.length > 0)
    return {
      ...base,
      state: 'failure',
      found: `no partition for today: ${few(today)}; jobs cannot be finished`,
      fix,
    }
  if (tomorrow.length > 0)
    return { ...base, state: 'warning', found: `no partition for tomorrow: ${few(tomorrow)}`, fix }
  return { ...base, state: 'ok', found: 'partitions for today and tomorrow are there' }
}

function processes({ live, lapsed, upkeep, unread }: Parts): Check[] {
  const base = { id: 'process.liveness', title: 'processes' }
  const gone = lapsed.length === 0 ? '' : `; ended without signing off within a day: ${few(lapsed)}`
  const alive: Check =
    live.length === 0
      ? {
          ...base,
          state: 'warning',
          found: `none is alive${gone}: nothing is handled or executed`,
          fix: 'millrace start',
        }
      : lapsed.length > 0
        ? {
            ...base,
            state: 'warning',
            found: `${live.length} alive${gone}`,
            fix: 'Look into the logs of those that ended. What they held has been taken over.',
          }
        : { ...base, state: 'ok', found: `${live.length} alive: ${few(live)}` }
  const checks = [alive]
  if (live.length > 0) {
    const found = upkeep
      ? 'a process does it'
      : 'nobody does it: due jobs are not staged, orphaned ones not rescued'
    checks.push({
      id: 'process.upkeep',
      title: 'upkeep',
      state: upkeep ? 'ok' : 'warning',
      found,
      ...(upkeep ? {} : { fix: 'Start at least one process without upkeep: false.' }),
    })
  }
  if (unread.length > 0) {
    const found = `no live process runs: ${few(unread)}`
    checks.push({
      id: 'consumer.unread',
      title: 'applications',
      state: 'warning',
      found,
      fix: `millrace start --consumers ${unread.slice(0, SHOWN).join(',')}`,
    })
  }
  return checks
}

function halted({ halted: found }: Parts, others: boolean): Check {
  const base = { id: 'consumer.halted', title: 'halted partitions' }
  if (found.length === 0) {
    return { ...base, state: 'ok', found: others ? 'none but those of another log' : 'none' }
  }
  return {
    ...base,
    state: 'failure',
    found: `${found.length}: ${few(found)}`,
    fix: 'millrace consumers list says why, and names the command; nothing is guessed, so somebody has to decide.',
  }
}

function paused({ paused: found }: Parts): Check {
  const base = { id: 'consumer.paused', title: 'paused consumers' }
  if (found.length === 0) return { ...base, state: 'ok', found: 'none' }
  return {
    ...base,
    state: 'warning',
    found: `${found.length}: ${few(found)}`,
    fix: 'millrace consumers resume --app <name>, when what it was paused for is over.',
  }
}

function few(names: readonly string[]): string {
  const more = names.length - SHOWN
  return `${names.slice(0, SHOWN).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
