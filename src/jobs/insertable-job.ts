import type { StandardSchemaV1 } from '@standard-schema/spec'

/** As much of a job's definition as it takes to insert one. */
export interface InsertableJob<Input = unknown, Output = unknown> {
  readonly kind: string
  readonly args: StandardSchemaV1<Input, Output>
  readonly queue: string
  readonly priority: number
  readonly maxAttempts: number
  readonly maxCrashes: number
}
