import { isWhole, Problems } from '../errors/config.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { isTopicName } from '../events/names.ts'
import type { NewRecord, ReadRequest } from './port.ts'

/** Partitions of a topic that is made without saying how many. */
export const DEFAULT_PARTITIONS = 6
/** Limits of a read that does not say. */
export const DEFAULT_MAX_RECORDS = 500
export const DEFAULT_MAX_BYTES = 4_194_304

const MAX_PARTITIONS = 1_024
const MAX_RECORDS = 10_000
const MAX_BYTES = 268_435_456
/** Most bytes of one append: hexadecimal, they must fit into one text of the runtime and one message of Postgres. */
const MAX_APPEND_BYTES = 128 * 1_048_576
/** The year 9999 ends. */
export const GREATEST_TIME_MS = 253_402_300_799_999

/** @throws E_CONFIG_INVALID when a topic cannot be made like that. */
export function checkTopic(name: string, partitions: number | undefined): void {
  const problems = new Problems(`topic '${name}'`)
  problems.expect(
    isTopicName(name),
    'name',
    '1 to 249 letters, digits, dots, underscores or hyphens',
    name,
  )
  problems.expect(
    partitions === undefined || isWhole(partitions, 1, MAX_PARTITIONS),
    'partitions',
    `a whole number from 1 to ${MAX_PARTITIONS}`,
    partitions,
  )
  problems.throwIfAny()
}

/** @throws E_CONFIG_INVALID when limits are out of bounds. */
export function checkRequests(requests: readonly ReadRequest[]): void {
  const problems = new Problems('read')
  for (const [index, { maxRecords = 1, maxBytes = 1 }] of requests.entries()) {
    if (isWhole(maxRecords, 1, MAX_RECORDS) && isWhole(maxBytes, 1, MAX_BYTES)) continue
    const at = `requests[${index}]`
    const whole = 'a whole number from 1 to'
    problems.expect(
      isWhole(maxRecords, 1, MAX_RECORDS),
      `${at}.maxRecords`,
      `${whole} ${MAX_RECORDS}`,
      maxRecords,
    )
    problems.expect(
      isWhole(maxBytes, 1, MAX_BYTES),
      `${at}.maxBytes`,
      `${whole} ${MAX_BYTES}`,
      maxBytes,
    )
  }
  problems.throwIfAny()
}

/**
 * Looks at records before anything is written.
 * @throws E_CONFIG_INVALID when a timestamp or the name of a header cannot be stored.
 * @throws E_EVENT_TOO_LARGE
 */
export function checkRecords(records: readonly NewRecord[]): void {
  let bytes = 0
  const problems = new Problems('append')
  for (const [index, { key, value, headers, timestamp }] of records.entries()) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0)
    for (const [name, headerValue] of headers) {
      bytes += name.length + (headerValue?.length ?? 0)
      if (name.isWellFormed()) continue
      problems.expect(false, `records[${index}].headers`, 'names without lone surrogates', name)
    }
    const ms = timestamp?.getTime() ?? 0
    if (ms >= 0 && ms <= GREATEST_TIME_MS) continue
    const expected = 'a valid date from 1970 to the year 9999'
    problems.expect(false, `records[${index}].timestamp`, expected, String(timestamp))
  }
  problems.throwIfAny()
  if (bytes > MAX_APPEND_BYTES) {
    throw new MillraceError(
      'E_EVENT_TOO_LARGE',
      `${records.length} records have ${bytes} bytes together, and at most ${MAX_APPEND_BYTES} are appended at once`,
      { details: { records: records.length, bytes, limit: MAX_APPEND_BYTES } },
    )
  }
}
