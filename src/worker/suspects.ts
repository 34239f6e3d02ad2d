import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import { claimSuspect } from './claim.ts'
import type { ClaimedJob } from './claimed-job.ts'
import type { Executor, Slot } from './executor.ts'
import type { Finisher } from './finisher.ts'
import type { HeldClaims } from './held.ts'
import { HANDED_BACK } from './result.ts'

/** Options of {@link Suspects}. */
export interface SuspectsOptions {
  readonly core: Core
  readonly pool: Pool
  readonly heartbeat: Pick<Heartbeat, 'id'>
  readonly held: HeldClaims
  readonly executor: Executor
  readonly finisher: Finisher
  readonly queues: readonly string[]
  readonly kinds: readonly string[]
  isOpen(): boolean
  isStopping(): boolean
  onLostClaim(): void
}

/**
 * Executes suspects: jobs that a process held when it died. Nobody knows which of them killed it, so they are executed
 * one at a time per process, beside its other jobs, each with a start mark that is on the disk before its handler is
 * called. If the process dies again, the mark says which one was running, and only that one is charged. A suspect that
 * ends in any way is cleared.
 */
export class Suspects implements Slot {
  readonly #options: SuspectsOptions
  #busy = false
  #claiming = false
  #current: { readonly token: string; ended: boolean; written: boolean } | undefined

  constructor(options: SuspectsOptions) {
    this.#options = options
  }

  /** Whether a claim is under way. */
  get isClaiming(): boolean {
    return this.#claiming
  }

  /** Looks for a suspect, unless one is being executed. */
  look(): void {
    if (this.#busy || !this.#options.isOpen()) return
    this.#busy = true
    this.#claiming = true
    void this.#claim()
  }

  /** The suspect's handler has returned. */
  ended(): void {
    if (this.#current === undefined) return
    this.#current.ended = true
    this.#options.finisher.flush()
    this.#next()
  }

  /**
   * A result has been written. Until that of a suspect is, the next one must not start: if it killed the process, there
   * would be two start marks, and an innocent job would be charged.
   */
  written({ token }: ClaimedJob): void {
    if (this.#current?.token !== token) return
    this.#current.written = true
    this.#next()
  }

  #next(): void {
    if (!this.#current?.ended || !this.#current.written) return
    this.#current = undefined
    this.#busy = false
    this.look()
  }

  /** Never rejects. */
  async #claim(): Promise<void> {
    const { core, pool, heartbeat, held, executor, finisher, queues, kinds } = this.#options
    const token = core.ids.uuid()
    const processId = heartbeat.id
    held.begin(token)
    try {
      const job = await claimSuspect(pool, { queues, kinds, processId, token })
      this.#claiming = false
      held.end(token, job === undefined ? 0 : 1)
      if (job === undefined) {
        this.#busy = false
      } else if (processId !== heartbeat.id) {
        finisher.written(job)
        this.#busy = false
      } else if (this.#options.isStopping()) {
        finisher.add(job, HANDED_BACK)
        this.#busy = false
      } else {
        await failpoint('job:suspect-claimed')
        this.#current = { token, ended: false, written: false }
        executor.start(job, this)
      }
    } catch (error) {
      held.end(token, 0)
      this.#busy = false
      this.#claiming = false
      core.logger.warn({ error }, 'a suspect could not be claimed')
      this.#options.onLostClaim()
    }
  }
}
