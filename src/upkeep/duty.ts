import type { Core } from '../core/core.ts'
import type { FinishHooks } from '../jobs/finished.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Pool } from '../postgres/pool.ts'

/** What duties work with. */
export interface DutyParts {
  readonly core: Core
  readonly pool: Pool
  readonly waker: JobWaker
  readonly hooks: FinishHooks
  /** Days that finished jobs, attempts and batches are kept. */
  readonly historyDays: number
}

/** One thing that the leader does again and again. */
export interface Duty {
  readonly name: string
  /** Wait between two turns, in milliseconds. */
  readonly intervalMs: number
  /** One turn; may return how long to wait before the next. Stops between two batches when `signal` is aborted. */
  run(parts: DutyParts, signal: AbortSignal): Promise<number | void>
}
