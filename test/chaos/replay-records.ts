import { z } from 'zod'
import { event } from '../../src/events/event.ts'
import type { Trap } from './failpoints.ts'

/** What is replayed: dead letters of records, past records, or dead letters of discarded jobs. */
export const SUBJECTS = ['letters', 'records', 'jobs'] as const
/** One of {@link SUBJECTS}. */
export type Subject = (typeof SUBJECTS)[number]

/** Name of the handler of records. */
export const STORE = 'store'

/** What a process is told. */
export interface ReplayWorkerConfig {
  readonly databaseUrl: string
  readonly subject: Subject
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
