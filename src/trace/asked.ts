import { isUuid } from '../core/ids.ts'

/** What somebody asks for. */
export type Asked =
  | {
      readonly kind: 'record'
      readonly topic: string
      readonly partition: number
      readonly offset: bigint
    }
  | { readonly kind: 'dead-letter'; readonly id: bigint }
  /** Of an event or a job, as it was given. `time`: the one that is in it, if it is a UUID version 7. */
  | { readonly kind: 'id'; readonly id: string; readonly time: Date | null }

const RECORD = /^([A-Za-z0-9._-]{1,249})\/(\d{1,9})[/@](\d{1,18})$/

/**
 * Reads what somebody asks for: `topic/partition/offset` (also with `@` before the offset, as `events tail` writes it), the
 * number of a dead letter, or the id of an event or job.
 */
export function parseAsked(text: string): Asked {
  const given = text.trim()
  const [, topic, partition, offset] = RECORD.exec(given) ?? []
  if (topic !== undefined && partition !== undefined && offset !== undefined) {
    return { kind: 'record', topic, partition: Number(partition), offset: BigInt(offset) }
  }
  if (/^\d{1,18}$/.test(given)) return { kind: 'dead-letter', id: BigInt(given) }
  return { kind: 'id', id: given, time: timeIn(given) }
}

/** The time in an id, to the millisecond, if it is a UUID version 7. */
export function timeIn(id: string): Date | null {
  if (!isUuid(id) || id[14] !== '7') return null
  return new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16))
}
