/** Where on its way a record or job failed for good. */
export type DeadLetterStage = 'decode' | 'validate' | 'prepare' | 'apply' | 'job'
