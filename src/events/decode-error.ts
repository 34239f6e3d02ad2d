import type { StandardSchemaV1 } from '@standard-schema/spec'
import { MillraceError } from '../errors/millrace-error.ts'
import type { EventDefinition } from './event.ts'
import type { PlacedRecord } from './raw-record.ts'
import { describeIssues, listProblems } from '../errors/schema-issues.ts'

/** An envelope that cannot be read. @throws nothing; the error is for a {@link RejectedRecord}. */
export function undecodable(record: PlacedRecord, problem: string, type?: string): MillraceError {
  return error('E_EVENT_UNDECODABLE', record, type, `${subject(type)} cannot be read: ${problem}`)
}

/** A value that cannot be read. */
export function unreadableValue(
  record: PlacedRecord,
  type: string,
  { problem, tooLarge }: { readonly problem: string; readonly tooLarge: boolean },
): MillraceError {
  const code = tooLarge ? 'E_EVENT_TOO_LARGE' : 'E_EVENT_UNDECODABLE'
  return error(code, record, type, `${subject(type)} cannot be read: ${problem}`)
}

/** A version that no upcaster reaches. */
export function versionError(
  record: PlacedRecord,
  definition: EventDefinition<string, never, unknown>,
  version: number,
): MillraceError {
  const { type, oldestVersion, version: newest } = definition
  const known =
    oldestVersion === newest ? `version ${newest} is` : `versions ${oldestVersion} to ${newest} are`
  return error(
    'E_EVENT_VERSION',
    record,
    type,
    `${subject(type)} has version ${version}, and only ${known} known here`,
    { version },
  )
}

/** Data that does not match the schema. */
export function mismatch(
  record: PlacedRecord,
  type: string,
  issues: readonly StandardSchemaV1.Issue[],
  data: unknown,
): MillraceError {
  const problems = describeIssues(issues, data)
  return error(
    'E_EVENT_INVALID',
    record,
    type,
    `${subject(type)} does not match its schema:\n${listProblems(problems, issues.length)}`,
    { problems },
  )
}

/** A function of the definition that threw. */
export function threwError(
  record: PlacedRecord,
  type: string,
  what: string,
  cause: unknown,
): MillraceError {
  return error('E_EVENT_INVALID', record, type, `${subject(type)}: ${what}`, {}, cause)
}

function subject(type: string | undefined): string {
  return type === undefined ? 'the event' : `event '${type}'`
}

function error(
  code: 'E_EVENT_UNDECODABLE' | 'E_EVENT_TOO_LARGE' | 'E_EVENT_VERSION' | 'E_EVENT_INVALID',
  { topic, partition, offset }: PlacedRecord,
  type: string | undefined,
  message: string,
  more: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): MillraceError {
  return new MillraceError(code, message, {
    // The place stays out of the text, so that the same failure reads the same.
    details: {
      topic,
      partition,
      offset: String(offset),
      ...(type === undefined ? {} : { type }),
      ...more,
    },
    ...(cause === undefined ? {} : { cause }),
  })
}
