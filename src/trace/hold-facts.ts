import type { Pause } from '../control/pauses.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { HoldFact } from './facts.ts'

/** Orders to pause and resume that are looked at, the newest. */
const MAX_ACTIONS = 2_000
/** Gaps that are looked at, the newest. */
const MAX_GAPS = 1_000

interface Action extends Record<string, unknown> {
  readonly at: Date
  readonly operator: string
  readonly action: 'consumers.pause' | 'consumers.resume'
  readonly filter: {
    readonly application?: string
    readonly topic?: string | null
    readonly partition?: number | null
  }
  readonly reason: string | null
  readonly detail: { readonly expiresAt?: string | null } | null
}

interface GapRow extends Record<string, unknown> {
  readonly application: string
  readonly topic: string
  readonly partition: number
  readonly found: string
  readonly found_at: Date
  readonly decided_at: Date | null
}

/**
 * When these applications were held back: by pauses, those in force and those that are over, which the audit of what
 * operators did remembers, and by gaps until somebody decided about them.
 */
export async function holdsOf(
  db: Queryable,
  applications: readonly string[],
  pauses: readonly Pause[],
): Promise<HoldFact[]> {
  if (applications.length === 0) return []
  const { rows: actions } = await db.query<Action>(
    `/* millrace:trace-pauses */ select at, operator, action, filter, reason, detail from millrace.operator_action
     where action in ('consumers.pause', 'consumers.resume') and filter->>'application' = any ($1::text[])
     order by id desc limit ${MAX_ACTIONS}`,
    [applications],
  )
  const { rows: gaps } = await db.query<GapRow>(
    `/* millrace:trace-gaps */ select application, topic, partition, found, found_at, decided_at from millrace.gap
     where application = any ($1::text[]) order by id desc limit ${MAX_GAPS}`,
    [applications],
  )
  return [
    ...pauses
      .filter(({ application }) => applications.includes(application))
      .map((pause): HoldFact => {
        const { application, topic, partition, by, reason, at } = pause
        return { application, topic, partition, what: said(by, reason), from: at, to: null }
      }),
    ...pausesThatAreOver(actions.toReversed(), pauses),
    ...gaps.map(
      (gap): HoldFact => ({
        application: gap.application,
        topic: gap.topic,
        partition: gap.partition,
        what: `stopped: ${gap.found}`,
        from: gap.found_at,
        to: gap.decided_at,
      }),
    ),
  ]
}

/** A pause ends with its time, with the next order for the same scope, or when it or a wider one is resumed. */
function pausesThatAreOver(actions: readonly Action[], now: readonly Pause[]): HoldFact[] {
  return actions.flatMap((action, index): HoldFact[] => {
    if (action.action !== 'consumers.pause') return []
    const { application, topic = null, partition = null } = action.filter
    if (application === undefined) return []
    const later = actions
      .slice(index + 1)
      .find((other) =>
        other.action === 'consumers.pause'
          ? isWithin(action, other) && isWithin(other, action)
          : isWithin(action, other),
      )
    const expiresAt = action.detail?.expiresAt == null ? null : new Date(action.detail.expiresAt)
    const ends = [later?.at, expiresAt ?? undefined].flatMap((end) => end ?? [])
    const inForce = now.some(({ at }) => Math.abs(+at - +action.at) < 1_000)
    if (ends.length === 0 || (later === undefined && inForce)) return []
    const to = ends.reduce((a, b) => (+a < +b ? a : b))
    const what = said(action.operator, action.reason)
    return [{ application, topic, partition, what, from: action.at, to }]
  })
}

function isWithin({ filter: inner }: Action, { filter: outer }: Action): boolean {
  return (
    inner.application === outer.application &&
    (outer.topic == null || outer.topic === inner.topic) &&
    (outer.partition == null || outer.partition === inner.partition)
  )
}

function said(by: string, reason: string | null): string {
  return `paused by ${by}${reason === null ? '' : `: ${reason}`}`
}
