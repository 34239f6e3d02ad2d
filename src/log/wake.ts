import type { Core } from '../core/core.ts'
import { wake } from '../postgres/listener.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** A notification has room for 8,000 bytes; an id takes 37. */
const IDS_PER_WAKE = 200
const IDLE_MS = 1_000

/**
 * Tells all processes that records were appended to the topics of these ids. For after the commit of a transaction that
 * was given to `append`; never inside of one. A wake-up that gets lost costs a poll.
 */
export async function wakeLog(db: Queryable, topicIds: Iterable<string>): Promise<void> {
  const ids = [...new Set(topicIds)]
  for (let at = 0; at < ids.length; at += IDS_PER_WAKE) {
    await wake(db, 'log', ids.slice(at, at + IDS_PER_WAKE).join(','))
  }
}

/** The topic ids of a wake-up's text; none: any topic. */
export function topicIdsOf(text: string): readonly string[] {
  return text === '' ? [] : text.split(',')
}

/** Sends wake-ups one at a time; what is asked for meanwhile goes out together in the next. */
export class WakeSender {
  readonly #core: Core
  readonly #db: Queryable
  readonly #waiting = new Set<string>()
  #sending: Promise<void> | undefined

  constructor(core: Core, db: Queryable) {
    this.#core = core
    this.#db = db
  }

  /** Asks for a wake-up about these topics, soon. Never fails. */
  send(topicIds: Iterable<string>): void {
    for (const id of topicIds) this.#waiting.add(id)
    if (this.#waiting.size > 0) this.#sending ??= this.#run()
  }

  /** Resolves when nothing waits to be sent, after a second at the latest: a pool that was ended answers nobody. */
  async idle(): Promise<void> {
    if (this.#sending === undefined) return
    const sent = new AbortController()
    // Rejects when all was sent in time, which is as good.
    const patience = this.#core.clock.sleep(IDLE_MS, { signal: sent.signal }).catch(() => {})
    await Promise.race([this.#sending, patience])
    sent.abort()
    await patience
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const ids = [...this.#waiting]
      this.#waiting.clear()
      try {
        await wakeLog(this.#db, ids)
      } catch (error) {
        // Readers poll anyway.
        this.#core.logger.debug({ error, topics: ids.length }, 'a wake-up was not sent')
      }
    }
    // In one go with the last look, so that nothing is added in between and forgotten.
    this.#sending = undefined
  }
}
