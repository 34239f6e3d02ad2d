/** States of a job that is not finished: its row is in the hot table. */
export const UNFINISHED_STATES = [
  /** May be claimed now. */
  'available',
  /** Waits for its first due time, or was snoozed. */
  'scheduled',
  /** Claimed by a process. */
  'executing',
  /** An attempt failed; waits for its backoff. */
  'retryable',
  /** Held back until something else lets it go. */
  'suspended',
] as const

/** States of a finished job: its row is in the history. Final, unless an operator retries the job. */
export const FINISHED_STATES = ['completed', 'cancelled', 'discarded'] as const

/** State of a job that is not finished. */
export type UnfinishedState = (typeof UNFINISHED_STATES)[number]

/** State of a finished job. */
export type FinishedState = (typeof FINISHED_STATES)[number]

/** Every state a job can be in. */
export type JobState = UnfinishedState | FinishedState
