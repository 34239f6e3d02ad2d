import type { DeclaredEffect } from '../timeline/effect.ts'

/** A job as the worker that claimed it holds it. */
export interface ClaimedJob {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly priority: number
  readonly place: number
  readonly attempt: number
  readonly maxAttempts: number
  readonly argsJson: string
  readonly metaJson: string | null
  /** Names this attempt in every write to the row. */
  readonly token: string
  readonly processId: string
  /** Where the row was when it was claimed: saves the finishing statement an index look-up. Only a hint. */
  readonly tid: string
  /** What its handler has declared and nobody has taken to write yet. */
  effects?: DeclaredEffect[] | undefined
}
