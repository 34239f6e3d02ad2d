/** Where on its way a record or job failed for good. */
export type DeadLetterStage = 'decode' | 'validate' | 'prepare' | 'apply' | 'job'

/** What became of a dead letter. `parked`: it has failed in as many replays as were allowed. */
export type DeadLetterState = 'open' | 'replayed' | 'discarded' | 'parked'
