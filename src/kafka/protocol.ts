import { ResponseError, protocolErrors, protocolErrorsCodesById } from '@platformatic/kafka'

/** Kafka's error codes that are acted on. All others are only shown. */
export const KAFKA_ERROR = {
  none: 0,
  offsetOutOfRange: 1,
  corruptMessage: 2,
  unknownTopicOrPartition: 3,
  messageTooLarge: 10,
  coordinatorLoading: 14,
  coordinatorNotAvailable: 15,
  notCoordinator: 16,
  invalidTopic: 17,
  recordListTooLarge: 18,
  notEnoughReplicas: 19,
  topicAuthorizationFailed: 29,
  invalidTimestamp: 32,
  topicAlreadyExists: 36,
  unsupportedForMessageFormat: 43,
  policyViolation: 44,
  outOfOrderSequence: 45,
  duplicateSequence: 46,
  invalidProducerEpoch: 47,
  operationNotAttempted: 55,
  unknownProducerId: 59,
  invalidRecord: 87,
  unknownTopicId: 100,
  inconsistentTopicId: 103,
} as const

/** Errors that may go away by themselves, perhaps at another broker. */
const TRANSIENT: ReadonlySet<number> = new Set(
  Object.values(protocolErrors)
    .filter(({ canRetry }) => canRetry)
    .map(({ code }) => code),
)

/** Whether the same request may succeed later. */
export function isTransient(code: number): boolean {
  return TRANSIENT.has(code)
}

/** Kafka's name for an error code, in words: `NOT_LEADER_OR_FOLLOWER`. */
export function errorName(code: number): string {
  return protocolErrorsCodesById[code] ?? `error ${code}`
}

/**
 * The answer inside of an error that the client throws when any part of an answer has an error code. The good parts of it
 * are as good as ever, so callers look at the codes themselves.
 */
export function answerOf(error: unknown): unknown {
  return error instanceof ResponseError ? (error as { response?: unknown }).response : undefined
}
