import { toJson } from '../core/to-json.ts'
import type { Core } from '../core/core.ts'
import type { DeadLetterStage } from '../dead-letter/stage.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { PositionKey } from './positions.ts'

/** What was found wrong with a log at a position. */
export type GapCode =
  /** The topic of that name has another id now. */
  | 'topic-recreated'
  /** There is no topic of that name, or no such partition, any more. */
  | 'topic-deleted'
  /** Records that were not read yet were purged, or have expired. */
  | 'before-start'
  /** The position is behind the end of the log: its tail was lost. */
  | 'behind-end'
  /** The record last handled has another content: the log was rewritten. */
  | 'diverged'
  /** Records cannot be read, and never will be. */
  | 'corrupt'
  /** The log is well, but most of its next records fail alike: the flood brake has stopped before them. */
  | 'flood'

/** What the flood brake saw. */
export interface FloodEvidence {
  readonly fingerprint: string
  /** How many records fail so, of how many that were looked at, over how many keys. */
  readonly failed: number
  readonly records: number
  readonly keys: number
  /** Of the first of them, which stands at `offset`. */
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly error: Omit<ErrorDescription, 'stack'>
  readonly offset: string
  readonly codeVersion: string | null
}

/** What was found, before it is written down. Offsets and hashes of the position itself are added from its row. */
export interface Finding {
  readonly code: GapCode
  /** In words for people. */
  readonly found: string
  /** The first offset that is missing or not what it was. Null: not known. */
  readonly from: bigint | null
  /** The first offset behind those. Null: not known. */
  readonly to: bigint | null
  readonly evidence?: {
    readonly logStart?: bigint
    readonly logEnd?: bigint
    /** SHA-256 of the record that is there now, hexadecimal. */
    readonly foundHash?: string
    /** Id of the topic that has the name now. */
    readonly newTopicId?: string
    readonly flood?: FloodEvidence
  }
}

/** What a gap's evidence says; numbers of offsets as text. */
export interface GapEvidence {
  readonly position: string
  readonly lastOffset: string | null
  readonly expectedHash: string | null
  readonly logStart?: string
  readonly logEnd?: string
  readonly foundHash?: string
  readonly newTopicId?: string
  readonly flood?: FloodEvidence
  /** When a webhook was told, in ISO 8601. */
  readonly toldAt?: string
}

/** What was decided about a gap. */
export interface GapDecision {
  /** Of a flood: `try-again` or `accept-failures`. */
  readonly decision: 'rewind' | 'accept' | 'adopt' | 'try-again' | 'accept-failures'
  readonly by: string
  readonly at: Date
  readonly reason: string | null
  /** Where reading goes on, and what that costs; numbers of offsets as text. */
  readonly outcome: unknown
}

/** Why an application's position was halted: what was found wrong there, and what was decided about it. */
export interface Gap extends PositionKey {
  readonly id: bigint
  readonly topic: string
  readonly generation: number
  readonly code: GapCode
  readonly found: string
  readonly from: bigint | null
  readonly to: bigint | null
  readonly evidence: GapEvidence
  readonly foundAt: Date
  /** Null: the position is halted until somebody decides. */
  readonly decided: GapDecision | null
}

/** An owner, by which a finding of his is fenced: one that was replaced must not judge by where it had been. */
export interface FindingOwner {
  readonly processId: string
  readonly epoch: bigint
}

/**
 * Stops a position until somebody decides, gives it back, and writes down what was found, in one statement; then raises
 * the alarm. Whoever finds the same a second time changes nothing and is not heard again. With `owner`, only if the
 * position is still that owner's.
 */
export async function haltPosition(
  { core, pool: db }: { readonly core: Core; readonly pool: Queryable },
  key: PositionKey & { readonly topic: string },
  { code, found, from, to, evidence = {} }: Finding,
  owner?: FindingOwner,
): Promise<void> {
  const { rows } = await db.query<{ id: string }>(
    `/* millrace:position-halt */ with halted as (
       update millrace.position
       set halted = $4, owner = null, waiting = null, updated_at = clock_timestamp()
       where application = $1 and topic_id = $2 and partition = $3 and halted is null
         and ($5::uuid is null or (owner = $5 and epoch = $6))
       returning *
     )
     insert into millrace.gap as g (application, topic, topic_id, partition, generation, code, found, from_offset,
       to_offset, evidence)
     select application, topic, topic_id, partition, generation, $7, $4,
       -- Of a topic that is gone, all from the position on is missing.
       coalesce($8, case when $7 in ('topic-recreated', 'topic-deleted') then next_offset end), $9,
       (jsonb_build_object('position', next_offset::text, 'lastOffset', last_offset::text,
         'expectedHash', encode(last_hash, 'hex')) || $10::jsonb)::json
     from halted
     -- Somebody set the position going by hand, and left its finding open: what is found now takes its place.
     on conflict (application, topic_id, partition) where decision is null do update
       set code = excluded.code, found = excluded.found, generation = excluded.generation,
         from_offset = excluded.from_offset, to_offset = excluded.to_offset, evidence = excluded.evidence,
         found_at = clock_timestamp()
     returning id::text`,
    [
      key.application,
      key.topicId,
      key.partition,
      found,
      owner?.processId ?? null,
      owner?.epoch ?? null,
      code,
      from,
      to,
      toJson(evidence),
    ],
  )
  const [gap] = rows
  if (gap === undefined) return
  const { application, topic, topicId, partition } = key
  const common = { application, topic, topicId, partition, code, reason: found, gap: gap.id }
  const { flood } = evidence
  if (flood !== undefined) {
    const resume = `millrace consumers resume --app ${application}`
    core.logger.error(
      {
        ...common,
        ...flood,
        share: flood.failed / flood.records,
        next: `deploy what can handle them, then: ${resume}. Or, if they are really bad and are to become dead letters: ${resume} --accept-failures --reason <why>`,
      },
      'most of the next records fail alike: this partition is stopped before the first of them becomes a dead letter',
    )
    return
  }
  core.logger.error(
    {
      ...common,
      next: `millrace consumers get --app ${application} --topic ${topic} --partition ${partition}`,
    },
    'the log is not what it was: this partition is stopped until somebody decides',
  )
}

/** What {@link listGaps} looks for. */
export interface GapFilter {
  readonly application?: string | undefined
  /** Only those that nothing was decided about. Default false. */
  readonly open?: boolean
}

/** Gaps, newest first, at most a thousand. */
export async function listGaps(db: Queryable, filter: GapFilter = {}): Promise<Gap[]> {
  const { rows } = await db.query<{
    id: string
    application: string
    topic: string
    topic_id: string
    partition: number
    generation: number
    code: GapCode
    found: string
    from_offset: string | null
    to_offset: string | null
    evidence: GapEvidence
    found_at: Date
    decision: GapDecision['decision'] | null
    decided_by: string | null
    decided_at: Date | null
    reason: string | null
    outcome: unknown
  }>(
    `/* millrace:gap-list */ select id::text, application, topic, topic_id, partition, generation, code, found,
       from_offset::text, to_offset::text, evidence, found_at, decision, decided_by, decided_at, reason, outcome
     from millrace.gap g
     where ($1::text is null or application = $1) and (not $2 or decision is null) order by g.id desc limit 1000`,
    [filter.application ?? null, filter.open ?? false],
  )
  return rows.map((row) => ({
    id: BigInt(row.id),
    application: row.application,
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    generation: row.generation,
    code: row.code,
    found: row.found,
    from: row.from_offset === null ? null : BigInt(row.from_offset),
    to: row.to_offset === null ? null : BigInt(row.to_offset),
    evidence: row.evidence,
    foundAt: row.found_at,
    decided:
      row.decision === null
        ? null
        : {
            decision: row.decision,
            by: row.decided_by as string,
            at: row.decided_at as Date,
            reason: row.reason,
            outcome: row.outcome,
          },
  }))
}
