import { z } from 'zod'
import { event } from '../../src/events/event.ts'
import type { Trap } from './failpoints.ts'

/** What a process is told. */
export interface ReplayWorkerConfig {
  readonly databaseUrl: string
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
