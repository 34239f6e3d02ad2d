import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import { wake } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { PositionKey } from './positions.ts'

/** What an order is about: an application, one topic of it, or one partition of that. */
export interface ConsumerScope {
  readonly application: string
  /** Default: all topics. */
  readonly topic?: string | undefined
  /** Default: all partitions. Needs a topic. */
  readonly partition?: number | undefined
}

/** What carries an order out; an operator has it all. */
export interface OrderParts {
  readonly core: Core
  readonly pool: Pool
  /** Who orders; kept with every order. */
  readonly user: string
  log(): Promise<Log>
}

/** A position that an order was not carried out for, and why. */
export interface RefusedPosition {
  readonly topic: string
  readonly partition: number
  readonly why: string
}

/** A position as orders look at it. */
export interface OrderedPosition extends PositionKey {
  readonly topic: string
  readonly next: bigint
  readonly generation: number
  readonly halted: string | null
  readonly lastOffset: bigint | null
  readonly lastHash: Uint8Array | null
}

/** The positions of a scope, by topic and partition; with `lock`, held until the transaction ends, in that order. */
export async function positionsIn(
  db: Queryable,
  { application, topic, partition }: ConsumerScope,
  options: { readonly lock?: boolean } = {},
): Promise<OrderedPosition[]> {
  const { rows } = await db.query<{
    topic: string
    topic_id: string
    partition: number
    next_offset: string
    generation: number
    halted: string | null
    last_offset: string | null
    last_hash: Buffer | null
  }>(
    `/* millrace:position-scope */ select topic, topic_id, partition, next_offset::text, generation, halted,
       last_offset::text, last_hash
     from millrace.position p
     where application = $1 and ($2::text is null or topic = $2) and ($3::int is null or partition = $3)
     order by topic, topic_id, partition ${options.lock === true ? 'for update' : ''}`,
    [application, topic ?? null, partition ?? null],
  )
  return rows.map((row) => ({
    application,
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    next: BigInt(row.next_offset),
    generation: row.generation,
    halted: row.halted,
    lastOffset: row.last_offset === null ? null : BigInt(row.last_offset),
    lastHash: row.last_hash,
  }))
}

/**
 * The positions of a scope.
 * @throws E_CONSUMER_NOT_FOUND when there is no such application, topic or partition, naming those that there are.
 */
export async function knownPositions(
  db: Queryable,
  scope: ConsumerScope,
): Promise<OrderedPosition[]> {
  const { application, topic, partition } = scope
  const found = await positionsIn(db, scope)
  if (found.length > 0) return found
  const all = await positionsIn(db, { application })
  const ofTopic = all.filter((position) => position.topic === topic)
  if (ofTopic.length > 0) {
    throw notFound(
      `${application} has no partition ${partition ?? '?'} of ${topic ?? '?'}`,
      ofTopic.map((position) => String(position.partition)),
    )
  }
  if (all.length > 0) {
    throw notFound(
      `${application} reads no topic '${topic ?? '?'}'`,
      all.map((position) => position.topic),
    )
  }
  const { rows } = await db.query<{ name: string }>(
    `/* millrace:application-names */ select application as name from millrace.position
     union select unnest(applications) from millrace.process where expires_at > clock_timestamp() order by 1`,
  )
  const names = rows.map(({ name }) => name)
  if (names.includes(application)) {
    throw new MillraceError(
      'E_CONSUMER_NOT_FOUND',
      `${application} has no positions yet: it is given them once it reads a topic that exists`,
      { details: { application } },
    )
  }
  throw notFound(`there is no application '${application}'`, names)
}

/** Tells the processes that run an application to look at its positions now. A wake-up that is lost costs a poll. */
export async function wakeOwners({ core, pool }: OrderParts, application: string): Promise<void> {
  await wake(pool, 'owners', application).catch((error: unknown) =>
    core.logger.debug({ error }, 'no wake-up sent; owners look every second'),
  )
}

const SHOWN = 20

function notFound(what: string, known: readonly string[]): MillraceError {
  const names = [...new Set(known)]
  const few = names.slice(0, SHOWN).join(', ')
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return new MillraceError(
    'E_CONSUMER_NOT_FOUND',
    `${what}. There ${names.length === 0 ? 'are none' : `${names.length === 1 ? 'is' : 'are'}: ${few}${more}`}`,
    { details: { known: names } },
  )
}
