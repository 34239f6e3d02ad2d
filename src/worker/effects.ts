import type { SourcedEffects } from '../timeline/effect-rows.ts'
import type { DeclaredEffect } from '../timeline/effect.ts'
import type { ClaimedJob } from './claimed-job.ts'

/** Takes what a job's handler has declared so far, so that it is written once; what it declares later stands for itself. */
export function takeEffects(job: ClaimedJob): readonly DeclaredEffect[] | undefined {
  const { effects } = job
  // Most declare nothing, and are left as they are.
  if (effects !== undefined) job.effects = undefined
  return effects
}

/** Gives effects back that could not be written with the attempt's outcome: they are written with its late one. */
export function giveBackEffects(
  job: ClaimedJob,
  effects: readonly DeclaredEffect[] | undefined,
): void {
  if (effects !== undefined) job.effects = [...effects, ...(job.effects ?? [])]
}

/** `effects` as the rows of a job's attempt. */
export function sourced(
  { id: jobId, attempt, kind: handler }: ClaimedJob,
  effects: readonly DeclaredEffect[] | undefined,
): SourcedEffects[] {
  return effects === undefined ? [] : [{ source: { jobId, attempt, handler }, effects }]
}
