export {
  inTransaction,
  type Applied,
  type Apply,
  type ApplyBatchContext,
  type ApplyContext,
  type InTransaction,
  type InTransactionBatch,
  type Prepare,
} from './bridge/in-transaction.ts'
export type {
  InsertOptions,
  MillraceTransaction,
  PublishOptions,
  Writer,
} from './bridge/millrace-transaction.ts'
export { toJob, type ToJob, type ToJobOptions } from './bridge/to-job.ts'
export { defineConfig, type MillraceConfig } from './app/config.ts'
export type { StartOptions } from './app/options.ts'
export { start, type Millrace, type Within } from './app/start.ts'
export type { Summary } from './app/summary.ts'
export type { DeadLetterGroup } from './counts/dead-letter-groups.ts'
export {
  application,
  type Application,
  type ApplicationOptions,
  type BacklogLimit,
  type FloodBrake,
  type OnOptions,
  type StartPosition,
} from './consumer/application.ts'
export type { DeadLetterTopic } from './consumer/dead-letter-topics.ts'
export {
  skip,
  type HandlerDefinition,
  type PreparedRecord,
  type RecordContext,
  type Skip,
} from './consumer/handler.ts'
export { CancelReason, StopReason, TimeoutReason } from './core/abort.ts'
export type { BackoffOptions } from './core/backoff.ts'
export type { Clock } from './core/clock.ts'
export type { Core } from './core/core.ts'
export type { Duration } from './core/duration.ts'
export type { LogFields, Logger } from './core/logger.ts'
export type { DeadLetterHeaders } from './dead-letter/foreign-headers.ts'
export { ERROR_CODES, type ErrorCode } from './errors/codes.ts'
export { isMillraceError, MillraceError, permanent } from './errors/millrace-error.ts'
export type { Definition, EventData, EventInput, EventOf } from './events/definition.ts'
export { event, type EventDefinition, type EventOptions } from './events/event.ts'
export { foreign, type ForeignDefinition, type ForeignOptions } from './events/foreign.ts'
export type { Header, RawRecord } from './events/raw-record.ts'
export type { ReceivedEvent } from './events/received-event.ts'
export { tombstone, type TombstoneDefinition } from './events/tombstone.ts'
export type { JobContext, JobTransaction } from './jobs/context.ts'
export {
  job,
  type AnyJobDefinition,
  type JobArgs,
  type JobDefinition,
  type JobInput,
  type JobOptions,
} from './jobs/job.ts'
export type { JobMeta, JobOrigin } from './jobs/meta.ts'
export { cancel, discard, snooze, type JobOutcome } from './jobs/outcome.ts'
export type { LogFactory } from './log/factory.ts'
export type {
  AppendedRecord,
  CommittedPosition,
  Log,
  LogRecord,
  NewRecord,
  PartitionOffsets,
  ReadOptions,
  ReadRequest,
  ReadResult,
  Topic,
} from './log/port.ts'
export { tableLog } from './log/table-log.ts'
export type { AlertMessage, FloodAlertMessage } from './alerts/alerts.ts'
export type { AlertOptions } from './alerts/webhook.ts'
export type { MetricsOptions } from './metrics/endpoint.ts'
export { jsonLogger, type JsonLoggerOptions, type LogLevel } from './telemetry/json-logger.ts'
export type { DeclareEffect } from './timeline/effect.ts'
