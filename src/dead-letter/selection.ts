import type { DeadLetterStage } from './dead-letter.ts'

/** Which dead letters of an application. All given conditions hold at once. */
export interface DeadLetterSelection {
  /** Null: of jobs that no application made. */
  readonly application: string | null
  /** Their numbers, at most 10,000; with other conditions, those of them that fit. */
  readonly ids?: readonly bigint[]
  /** From this number on. */
  readonly from?: bigint
  /** A group: see `dlq groups`. */
  readonly fingerprint?: string
  readonly handler?: string
  readonly stage?: DeadLetterStage
  readonly topic?: string
  readonly partition?: number
  readonly since?: Date
  readonly until?: Date
  /** What the record or the job must carry, as `dlq search --where` takes it: `data.currency=GBP`. */
  readonly where?: string
  /** A part of the error's class, code or message, or of one of its causes'; upper and lower case are the same. */
  readonly text?: string
  /** Also those that have failed in as many replays as were allowed. Default `false`. */
  readonly parked?: boolean
}

/**
 * The condition that the rows of `d`, an alias of `millrace.dead_letter`, are of this selection and may be worked on; but for
 * what they carry and say, which the database cannot tell: see `selected.ts`.
 * @param pass takes a value and gives the parameter that stands for it.
 */
export function selectedSql(
  selection: DeadLetterSelection,
  pass: (value: unknown) => string,
  d = 'd',
): string {
  const { application, ids, from, fingerprint, handler, stage, topic, partition } = selection
  const { since, until, parked = false } = selection
  const conditions = [
    application === null ? `${d}.application is null` : `${d}.application = ${pass(application)}`,
    parked ? `${d}.state in ('open', 'parked')` : `${d}.state = 'open'`,
  ]
  if (ids !== undefined) conditions.push(`${d}.id = any (${pass(ids.map(String))}::bigint[])`)
  if (from !== undefined) conditions.push(`${d}.id >= ${pass(String(from))}::bigint`)
  if (fingerprint !== undefined) conditions.push(`${d}.fingerprint = ${pass(fingerprint)}`)
  if (handler !== undefined) conditions.push(`${d}.handler = ${pass(handler)}`)
  if (stage !== undefined) conditions.push(`${d}.stage = ${pass(stage)}`)
  if (topic !== undefined) conditions.push(`${d}.topic = ${pass(topic)}`)
  if (partition !== undefined) conditions.push(`${d}.partition = ${pass(partition)}`)
  if (since !== undefined) conditions.push(`${d}.created_at >= ${pass(since)}`)
  if (until !== undefined) conditions.push(`${d}.created_at < ${pass(until)}`)
  return conditions.join(' and ')
}

/** The selection that a replay keeps as JSON, its numbers as strings. */
export function selectionFromJson(json: unknown): DeadLetterSelection {
  const { ids, from, since, until, ...rest } = json as Record<string, unknown> & {
    ids?: string[]
    from?: string
    since?: string
    until?: string
  }
  return {
    ...(rest as unknown as DeadLetterSelection),
    ...(ids === undefined ? {} : { ids: ids.map(BigInt) }),
    ...(from === undefined ? {} : { from: BigInt(from) }),
    ...(since === undefined ? {} : { since: new Date(since) }),
    ...(until === undefined ? {} : { until: new Date(until) }),
  }
}
