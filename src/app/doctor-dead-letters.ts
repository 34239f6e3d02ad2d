import { alertState } from '../alerts/queries.ts'
import {
  readDeadLetterGroups,
  readOpenDeadLetters,
  type DeadLetterGroup,
  type OpenDeadLetters,
} from '../counts/dead-letter-groups.ts'
import { MOST_DUE, readDueExports } from '../dead-letter/due-exports.ts'
import { deadTopicOf } from '../dead-letter/export-record.ts'
import { withoutData } from '../dead-letter/fingerprint.ts'
import { storedError } from '../dead-letter/stored-error.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'

/** Groups that are named: those with most open dead letters. */
const GROUPS = 5

/** What was set aside and waits for somebody, open or parked: per application, then the largest groups, each with how to look into it. */
export async function checkDeadLetters(pool: Pool): Promise<Check[]> {
  const all = (await readOpenDeadLetters(pool))
    .filter(({ open, parked }) => open > 0 || parked > 0)
    .sort((a, b) => b.open - a.open || b.parked - a.parked)
  if (all.length === 0)
    return [{ id: 'dead-letters', title: 'dead letters', state: 'ok', found: 'none is open' }]
  const groups = await readDeadLetterGroups(pool, GROUPS)
  const errors = await errorsOf(pool, groups)
  return [
    {
      id: 'dead-letters',
      title: 'dead letters',
      state: 'warning',
      found: all.map((one) => `${nameOf(one)}: ${allFigures(one)}`).join('; '),
      fix: all.some(({ open }) => open > 0)
        ? 'Look into the largest groups: millrace dlq groups'
        : 'They have failed in as many replays as were allowed. Look into them: millrace dlq groups --state parked',
    },
    ...groups.map((group): Check => {
      const { fingerprint, oldest } = group
      const error = oldest === null ? undefined : errors.get(oldest)
      return {
        id: 'dead-letters.group',
        title: fingerprint === null ? 'no fingerprint' : fingerprint,
        state: 'warning',
        found: `${nameOf(group)}${error ?? ''}: ${figures(group)}`,
        fix: `millrace dlq list --group ${fingerprint ?? 'none'}`,
      }
    }),
  ]
}

/** Whether whoever is to be told of new failures hears of them. Nothing, when nobody was ever asked to tell. */
export async function checkAlerts(pool: Pool): Promise<Check[]> {
  const state = await alertState(pool)
  if (state === undefined) return []
  const { waiting, attempts, trouble, lastToldAt } = state
  const base = { id: 'alerts', title: 'alerts' }
  const last = lastToldAt === null ? 'none was needed yet' : `last ${shown(lastToldAt)}`
  if (waiting === 0) return [{ ...base, state: 'ok', found: `all are told; ${last}` }]
  if (trouble === null)
    return [{ ...base, state: 'ok', found: `${waiting} new failures are being told; ${last}` }]
  return [
    {
      ...base,
      state: 'warning',
      found: `${waiting} new failures could not be told, ${attempts} attempts so far: ${trouble}`,
      fix: 'Mend the webhook of `alerts`, or its address; it is tried again by itself.',
    },
  ]
}

/** Whether dead letters reach their topics. Nothing, where none are copied. */
export async function checkExports(pool: Pool): Promise<Check[]> {
  return (await readDueExports(pool)).map(({ application, isOn, due, oldest, isOld }): Check => {
    const base = { id: 'dead-letters.export', title: `copies to ${deadTopicOf(application)}` }
    if (oldest === null) return { ...base, state: 'ok', found: 'none is due' }
    const many = due > MOST_DUE ? `more than ${MOST_DUE}` : String(due)
    const found = `letters due for export: ${many}, the oldest since ${shown(oldest)}`
    if (isOn && !isOld) return { ...base, state: 'ok', found }
    return {
      ...base,
      state: 'warning',
      found,
      fix: isOn
        ? `Run '${application}', and let it make and write the topic; its log lines say what is wrong. Then it goes on by itself.`
        : `Nobody copies them any more: start '${application}' with exportDeadLetters, if they are to be copied.`,
    }
  })
}

/** Handler and error of the oldest dead letter of each group, by its number. */
async function errorsOf(
  pool: Pool,
  groups: readonly DeadLetterGroup[],
): Promise<Map<bigint, string>> {
  const { rows } = await pool.query<{ id: string; handler: string; error: unknown }>(
    `/* millrace:doctor-groups */ select id::text, handler, error from millrace.dead_letter where id = any ($1::bigint[])`,
    [groups.flatMap(({ oldest }) => (oldest === null ? [] : [String(oldest)]))],
  )
  return new Map(
    rows.map(({ id, handler, error: stored }) => {
      const error = storedError(stored)
      return [BigInt(id), `/${handler} ${error.code ?? error.class}: ${withoutData(error)}`]
    }),
  )
}

function nameOf({ application }: { readonly application: string | null }): string {
  return application ?? 'of no application'
}

function allFigures(one: OpenDeadLetters): string {
  if (one.parked === 0) return figures(one)
  return one.open === 0 ? `${one.parked} parked` : `${figures(one)}, ${one.parked} parked`
}

function figures({
  open,
  lastHour,
  oldestAgeMs,
}: Pick<OpenDeadLetters, 'open' | 'lastHour' | 'oldestAgeMs'>): string {
  const age = oldestAgeMs === null ? '' : `, the oldest for ${shownAge(oldestAgeMs)}`
  return `${open} open, ${lastHour} within the last hour${age}`
}

function shown(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')}Z`
}

function shownAge(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 2) return `${Math.round(ms / 1_000)} s`
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`
}
