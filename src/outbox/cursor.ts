import { createHash } from 'node:crypto'
import type { OutboxRecord } from './read.ts'

/**
 * How far a relay is, as it stands in the log: the last record of a shard that is there, and which database it came from.
 * Offset 0 with an empty hash: none.
 */
export interface Cursor {
  readonly offset: bigint
  /** {@link recordHash} of that record, hexadecimal. */
  readonly hash: string
  /** Of which server and database: a copy of the rows elsewhere has another. */
  readonly database: string
  /** When that record was appended, by the database's clock, ISO 8601: tells rows of before a restore from later ones. */
  readonly appendedAt: string
}

/** What the database knows of how far a relay is. Never ahead of the cursor, unless one of the two was put back. */
export interface Relayed {
  /** `null`: nothing was relayed yet, as far as is known. */
  readonly offset: bigint | null
  readonly hash: string
}

/** Where a relay goes on, or why it must not. */
export type Judgement =
  | { readonly behind: bigint; readonly hash: string }
  /** `behind`, `hash`: where it goes on when an operator accepts that. */
  | { readonly halted: string; readonly behind: bigint; readonly hash: string }

/** What {@link judgeCursor} looks at. */
export interface Evidence {
  /** As it was read from the log; `null`: there is none. */
  readonly cursor: Cursor | null
  readonly relayed: Relayed
  /** Identity of this database now. */
  readonly database: string
  /** Hash of the record at the cursor's offset; `undefined`: there is none. */
  readonly recordHash: string | undefined
  /** The next offset that this database draws. */
  readonly nextOffset: bigint
}

/**
 * Compares the log's cursor with the database. What is not explained by a relay that ended at any moment was put back,
 * copied or lost by somebody, and then it is not for a program to guess which records are in the log.
 */
export function judgeCursor(evidence: Evidence): Judgement {
  const { cursor, relayed, database, recordHash, nextOffset } = evidence
  const known = { behind: relayed.offset ?? 0n, hash: relayed.hash }
  if (cursor === null) {
    if (relayed.offset === null) return known
    const text = `the log has no cursor, though records up to ${known.behind} were relayed: the topic of the cursors was deleted, or this is another log`
    return { halted: text, ...known }
  }
  const reached = { behind: cursor.offset, hash: cursor.hash }
  if (cursor.offset < known.behind) {
    const text = `the log's cursor is at ${cursor.offset}, though records up to ${known.behind} were relayed: the log was put back, or this is another one`
    return { halted: text, ...known }
  }
  if (cursor.offset >= nextOffset) {
    const text = `the log has records up to ${cursor.offset}, and this database has not come that far (${nextOffset}): it was restored`
    return { halted: text, ...known }
  }
  const here = cursor.offset === known.behind ? known.hash : recordHash
  if (here !== cursor.hash) {
    const what = here === undefined ? 'is not here' : 'is another one here'
    const text = `the record last relayed, ${cursor.offset}, ${what}: this database was restored, or is a copy`
    return { halted: text, ...known }
  }
  if (cursor.database !== database) {
    const text = `the record last relayed, ${cursor.offset}, is here, but it was relayed from another database or server (${cursor.database}, this is ${database}): one of them is a copy`
    return { halted: text, ...reached }
  }
  return reached
}

/** A cursor as text. */
export function formatCursor({ offset, ...rest }: Cursor): string {
  return JSON.stringify({ v: 1, offset: String(offset), ...rest })
}

/** @throws when it is no cursor of ours. */
export function parseCursor(text: string): Cursor {
  const { v, ...fields } = JSON.parse(text) as Record<string, unknown>
  const { offset, hash, database, appendedAt } = fields as Record<string, string>
  if (v !== 1 || [offset, hash, database, appendedAt].some((field) => typeof field !== 'string')) {
    throw new Error(`this is no cursor of a relay: ${text.slice(0, 200)}`)
  }
  return { offset: BigInt(offset as string), hash, database, appendedAt } as Cursor
}

/** SHA-256 of all that a record is, hexadecimal. */
export function recordHash(record: OutboxRecord): string {
  const { offset, topic, partition, key, value, headersJson } = record
  const hash = createHash('sha256')
  const place = JSON.stringify([String(offset), topic, partition, headersJson])
  for (const part of [Buffer.from(place), key, value]) {
    hash.update(`${part === null ? -1 : part.length}:`)
    if (part !== null) hash.update(part)
  }
  return hash.digest('hex')
}
