import { uuidOfName } from '../core/name-id.ts'
import type { FloodEvidence } from '../consumer/gaps.ts'
import { withoutData } from '../dead-letter/fingerprint.ts'
import type { DeadLetterStage } from '../dead-letter/stage.ts'
import { storedError } from '../dead-letter/stored-error.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { UNTOLD_FLOOD } from './queries.ts'

/** A partition that the flood brake has stopped, and that nobody has been told of. */
export interface NewFlood {
  /** The same however often this is sent: receivers may drop what they know. */
  readonly id: string
  readonly application: string
  readonly topic: string
  readonly partition: number
  readonly foundAt: Date
  /** Of the failure that most of its next records have. */
  readonly fingerprint: string
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly error: {
    readonly class: string
    readonly code: string | null
    /** Without what may come from data, as in dead letters. */
    readonly message: string
  }
  /** How many records fail so, of how many that were looked at, over how many keys. */
  readonly failed: number
  readonly records: number
  readonly keys: number
}

/** What there is to tell of stopped partitions. */
export interface NewFloods {
  /** Those that are described: the first. */
  readonly described: readonly NewFlood[]
  /** All of them, as {@link noteFloodsTold} takes them. */
  readonly found: readonly FoundFlood[]
}

/** A finding: the same number stands for another one, when it was made anew. */
interface FoundFlood {
  readonly gap: string
  /** To the microsecond, as the database writes it. */
  readonly at: string
}

/** Most that one message is about. */
const MOST = 1_000
/** Most that one message describes. */
const DESCRIBED = 20

/** Partitions that are stopped now, and that nobody was told of, in the order in which they were. */
export async function readFloods(db: Queryable): Promise<NewFloods> {
  const { rows } = await db.query<FloodRow>(
    `/* millrace:alert-floods */ select g.id::text as gap, g.found_at::text as at, g.found_at, g.application, g.topic, g.partition,
       case when row_number() over (order by g.id) <= ${DESCRIBED} then g.evidence -> 'flood' end as flood
     from millrace.gap g, millrace.alert_delivery a where ${UNTOLD_FLOOD} order by g.id limit ${MOST}`,
  )
  return { described: rows.flatMap(described), found: rows.map(({ gap, at }) => ({ gap, at })) }
}

/**
 * Notes that the receiver has these, in what was found: a column of its own would be worth it if anybody else asked. What was
 * found anew meanwhile is still to be told.
 */
export async function noteFloodsTold(tx: Queryable, found: readonly FoundFlood[]): Promise<void> {
  await tx.query(
    `/* millrace:alert-floods-told */ update millrace.gap g
     set evidence = (g.evidence::jsonb || jsonb_build_object('toldAt', clock_timestamp()))::json
     from unnest($1::bigint[], $2::timestamptz[]) told(gap, at) where g.id = told.gap and g.found_at = told.at`,
    [found.map(({ gap }) => gap), found.map(({ at }) => at)],
  )
}

interface FloodRow extends Record<string, unknown> {
  readonly gap: string
  readonly at: string
  readonly found_at: Date
  readonly application: string
  readonly topic: string
  readonly partition: number
  readonly flood: FloodEvidence | null
}

function described({ flood, ...row }: FloodRow): NewFlood[] {
  if (flood === null) return []
  const error = storedError(flood.error)
  return [
    {
      id: uuidOfName(`flood ${row.gap} ${row.at}`),
      application: row.application,
      topic: row.topic,
      partition: row.partition,
      foundAt: row.found_at,
      fingerprint: flood.fingerprint,
      handler: flood.handler,
      stage: flood.stage,
      error: { class: error.class, code: error.code ?? null, message: withoutData(error) },
      failed: flood.failed,
      records: flood.records,
      keys: flood.keys,
    },
  ]
}
