import { failpoint } from '../core/failpoint.ts'
import { uuidOfName } from '../core/name-id.ts'
import { transaction } from '../postgres/transaction.ts'
import type { Duty, DutyParts } from '../upkeep/duty.ts'
import {
  beginTelling,
  claimAttempt,
  giveBack,
  noteTold,
  noteTrouble,
  readNews,
  type AttemptLimits,
  type NewFingerprint,
  type News,
} from './news.ts'
import { ALERT_TIMEOUT_MS, postAlert, type AlertOptions } from './webhook.ts'

/** What is sent: one message about all fingerprints that are new. The names of its fields are stable. */
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
 * The duty to tell a webhook of fingerprints never seen before, at least once each, in one message for all there are.
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
      const news = await readNews(parts.pool)
      if (news.ids.length === 0) await giveBack(parts.pool, attempt)
      else await tell(parts, { options, limits, spacingMs, attempt, news }, signal)
    },
  }
}

interface Telling {
  readonly options: AlertOptions
  readonly limits: AttemptLimits
  readonly spacingMs: number
  readonly attempt: number
  readonly news: News
}

async function tell(
  { core, pool }: DutyParts,
  { options, limits, spacingMs, attempt, news }: Telling,
  signal: AbortSignal,
): Promise<void> {
  const message = toMessage(news)
  const sent = { id: message.id, body: JSON.stringify(message) }
  let trouble: string | undefined
  try {
    trouble = await postAlert(core.clock, options, sent, signal)
  } catch (error) {
    await giveBack(pool, attempt)
    throw error
  }
  const fields = { id: message.id, fingerprints: news.ids.length, attempt }
  if (trouble !== undefined) {
    core.logger.warn(
      { ...fields, trouble },
      'nobody could be told of new failures; it is tried again later',
    )
    await noteTrouble(pool, attempt, trouble, limits)
    return
  }
  await failpoint('alerts:sent')
  await transaction(pool, core, (tx) => noteTold(tx, news.ids, spacingMs))
  core.logger.info(fields, 'the webhook was told of new failures')
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
