import { z } from 'zod'
import { event } from '../../src/events/event.ts'
import type { Trap } from './failpoints.ts'

/** What is replayed: dead letters of records, past records, or dead letters of discarded jobs. */
export const SUBJECTS = ['letters', 'records', 'jobs'] as const
/** One of {@link SUBJECTS}; or dead letters of records of which jobs are made, which nobody executes: quick, for many. */
export type Subject = (typeof SUBJECTS)[number] | 'made-jobs'

/** Name of the handler of records. */
export const STORE = 'store'

/** How much there is to replay, and in what steps. */
export interface Scale {
  readonly count: number
  /** One in so many cannot be handled by any code. */
  readonly badEvery: number
  readonly batchRecords: number
}

/** Whether no code can handle it. */
export const isBad = (n: number, { badEvery }: Pick<Scale, 'badEvery'>): boolean =>
  n % badEvery === 13

/** What a process is told. */
export interface ReplayWorkerConfig extends Scale {
  readonly databaseUrl: string
  readonly subject: Subject
  /** Where the application begins to read. */
  readonly start: 'beginning' | 'end'
  /** Whether the code that is deployed can handle the records. */
  readonly mended: boolean
  readonly trap?: Trap
}

/** Numbers of seven keys. */
export const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
  key: ({ n }) => `key-${n % 7}`,
})
