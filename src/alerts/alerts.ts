import { failpoint } from '../core/failpoint.ts'
import { uuidOfName } from '../core/name-id.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { transaction } from '../postgres/transaction.ts'
import type { Duty, DutyParts } from '../upkeep/duty.ts'
import { noteFloodsTold, readFloods, type NewFlood, type NewFloods } from './floods.ts'
import {
  beginTelling,
  claimAttempt,
  giveBack,
  noteDelivered,
  noteTold,
  noteTrouble,
  readNews,
  type AttemptLimits,
  type NewFingerprint,
  type News,
} from './news.ts'
import { ALERT_TIMEOUT_MS, postAlert, type AlertOptions } from './webhook.ts'

/** What is sent of dead letters: one message about all fingerprints that are new. The names of its fields are stable. */
export interface AlertMessage {
  /** The same for the same fingerprints; also sent as the header `idempotency-key`. */
  readonly id: string
  readonly kind: 'dead-letter.new-fingerprint'
  /** One line for people, where chat programs look for it. */
  readonly text: string
  readonly fingerprints: readonly (NewFingerprint & {
    /** The command that shows its dead letters. */
    readonly look: string
  })[]
  /** How many more are new and not described here; they are not sent again. */
  readonly more: number
}

/** What is sent of partitions that the flood brake has stopped: their records become no dead letters, so nothing else tells. */
export interface FloodAlertMessage {
  /** The same for the same stops; also sent as the header `idempotency-key`. */
  readonly id: string
  readonly kind: 'consumer.flood'
  /** One line for people, where chat programs look for it. */
  readonly text: string
  readonly floods: readonly (NewFlood & {
    /** The command that shows it, and what can be done. */
    readonly look: string
  })[]
  /** How many more are stopped and not described here; they are not sent again. */
  readonly more: number
}

/** How often it is tried. All in milliseconds. */
export interface AlertPace {
  /** Wait after the first failure; doubles with each. Default 5,000. */
  readonly backoffMs?: number
  /** Default 300,000. */
  readonly maxBackoffMs?: number
  /** Shortest time between two messages that were taken; what is new meanwhile is in the second. Default 30,000. */
  readonly spacingMs?: number
  /** Time between two looks for news. Default 1,000. */
  readonly intervalMs?: number
}

/**
 * The duty to tell a webhook of fingerprints never seen before, and of partitions that the flood brake has stopped: at least
 * once each, in one message for all there are of either.
 *
 * An attempt is claimed in the database before it is made, and what was told is noted after a 2xx: a leader killed in between
 * is followed by one that sends the same ids again, not before the attempt has run out. Whatever the receiver does, the other
 * duties go on: each has a loop of its own.
 */
export function tellNewFingerprints(options: AlertOptions, pace: AlertPace = {}): Duty {
  const { timeoutMs = ALERT_TIMEOUT_MS } = options
  const { backoffMs = 5_000, maxBackoffMs = 300_000, spacingMs = 30_000, intervalMs = 1_000 } = pace
  const limits = { timeoutMs, backoffMs, maxBackoffMs }
  let begun = false
  return {
    name: 'alerts',
    intervalMs,
    async run(parts, signal) {
      if (!begun) await beginTelling(parts.pool)
      begun = true
      const attempt = await claimAttempt(parts.pool, limits)
      if (attempt === undefined) return
      const letter = (await floodLetter(parts.pool)) ?? (await newsLetter(parts.pool))
      if (letter === undefined) await giveBack(parts.pool, attempt)
      else await tell(parts, { options, limits, spacingMs, attempt, letter }, signal)
    },
  }
}

interface Telling {
  readonly options: AlertOptions
  readonly limits: AttemptLimits
  readonly spacingMs: number
  readonly attempt: number
  readonly letter: Letter
}

/** A message, and how it is noted that the receiver has it. */
interface Letter {
  readonly message: AlertMessage | FloodAlertMessage
  /** Of how many. */
  readonly about: number
  readonly noteTold: (tx: Queryable) => Promise<void>
}

async function tell(
  { core, pool }: DutyParts,
  { options, limits, spacingMs, attempt, letter: { message, about, noteTold: note } }: Telling,
  signal: AbortSignal,
): Promise<void> {
  const sent = { id: message.id, body: JSON.stringify(message) }
  let trouble: string | undefined
  try {
    trouble = await postAlert(core.clock, options, sent, signal)
  } catch (error) {
    await giveBack(pool, attempt)
    throw error
  }
  const fields = { id: message.id, kind: message.kind, about, attempt }
  if (trouble !== undefined) {
    core.logger.warn(
      { ...fields, trouble },
      'nobody could be told of new failures; it is tried again later',
    )
    await noteTrouble(pool, attempt, trouble, limits)
    return
  }
  await failpoint('alerts:sent')
  await transaction(pool, core, async (tx) => {
    await note(tx)
    await noteDelivered(tx, spacingMs)
  })
  core.logger.info(fields, 'the webhook was told of new failures')
}

/** They come first: while a partition is stopped, nothing of it is handled. */
async function floodLetter(pool: Pool): Promise<Letter | undefined> {
  const floods = await readFloods(pool)
  const { found } = floods
  if (found.length === 0) return undefined
  return {
    message: toFloodMessage(floods),
    about: found.length,
    noteTold: (tx) => noteFloodsTold(tx, found),
  }
}

async function newsLetter(pool: Pool): Promise<Letter | undefined> {
  const news = await readNews(pool)
  const { ids } = news
  if (ids.length === 0) return undefined
  return { message: toMessage(news), about: ids.length, noteTold: (tx) => noteTold(tx, ids) }
}

function toFloodMessage({ described, found }: NewFloods): FloodAlertMessage {
  const shown = described
    .slice(0, 3)
    .map(({ application, topic, partition, handler, ...flood }) => {
      const { error, failed, records, fingerprint } = flood
      const what = `${error.code ?? error.class}: ${error.message}`
      return `${application} ${topic}/${partition}: ${failed} of ${records} records fail in ${handler}: ${what} (${fingerprint})`
    })
  const stopped = found.length === 1 ? 'a partition' : `${found.length} partitions`
  return {
    id: uuidOfName(
      found
        .map(({ gap, at }) => `flood ${gap} ${at}`)
        .toSorted()
        .join('\n'),
    ),
    kind: 'consumer.flood',
    text: `The flood brake has stopped ${stopped}: ${shown.join('; ')}${found.length > shown.length ? '; …' : ''}`,
    floods: described.map((one) => ({
      ...one,
      look: `millrace consumers get --app ${one.application} --topic ${one.topic} --partition ${one.partition}`,
    })),
    more: found.length - described.length,
  }
}

function toMessage({ described, ids }: News): AlertMessage {
  return {
    id: uuidOfName(ids.toSorted().join('\n')),
    kind: 'dead-letter.new-fingerprint',
    text: inWords(described, ids.length),
    fingerprints: described.map((one) => ({
      ...one,
      look: `millrace dlq list --group ${one.fingerprint}`,
    })),
    more: ids.length - described.length,
  }
}

/** Names at most three of them. */
function inWords(described: readonly NewFingerprint[], total: number): string {
  const kinds = total === 1 ? 'A new kind of dead letter' : `${total} new kinds of dead letters`
  const shown = described.slice(0, 3).map(({ application, handler, error, count, fingerprint }) => {
    const where = [application, handler].filter((name) => name !== null).join('/')
    const what = error === null ? 'deleted since' : `${error.code ?? error.class}: ${error.message}`
    return `${where}: ${what} (${count}, ${fingerprint})`
  })
  return `${kinds}: ${shown.join('; ')}${total > shown.length ? '; …' : ''}`
}
