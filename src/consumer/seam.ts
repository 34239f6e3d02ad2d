import type { PartitionOffsets, ReadResult } from '../log/port.ts'
import type { Checkpoint } from './checkpoints.ts'
import type { Finding } from './gaps.ts'
import type { OwnedPosition } from './positions.ts'
import { hashOf } from './record-hash.ts'

/** What the look at the seam asks of one partition. */
export interface SeamReader {
  /** How far it reaches; undefined when it is gone. */
  offsets(): Promise<PartitionOffsets | undefined>
  /** What stands at `offset`: at most one record, the first at or after it. */
  at(offset: bigint): Promise<ReadResult>
  /** Records that were handled in this reading, newest first: between them and the position is no jump. */
  older(range: PartitionOffsets): Promise<readonly Checkpoint[]>
}

/** What a look at the seam came to. */
export type Seam =
  /** The log is not the one that the position was made in. */
  | { readonly seam: 'broken'; readonly finding: Finding }
  /**
   * It is, in the history of that name (see `ReadResult.history`), as far as anybody can say. Without a name there was
   * nothing to compare: nothing was handled yet, or what was is purged.
   */
  | { readonly seam: 'whole'; readonly history: string | undefined }
  /** The same, but every record that was handled has been taken away, by compaction or retention. */
  | { readonly seam: 'unverifiable'; readonly history: string | undefined }
  /** The record last handled lies behind what can be seen just now: look again. */
  | { readonly seam: 'hidden' }

/** So many of the newest checkpoints are looked at one by one; of the older ones ever fewer. */
const ONE_BY_ONE = 8

/**
 * Whether the log is still the one this position was made in: the position lies within it, and the record last seen, if
 * it is still there, has the content it had.
 *
 * The rewritten part may also begin behind that record, among holes that the position has come past (a transaction that
 * was aborted): a record that stands there now gives it away.
 *
 * When the last record is not there, the log may say that its offset never had a record; then it was rewritten, by a
 * producer in transactions, whose ends take offsets too. Otherwise compaction may have taken it away, and it does so with
 * rewritten records as well; so older records that were handled are looked at, until one is found. If that one is as it
 * was, all up to it is; what lies between it and the position nobody can say.
 */
export async function checkSeam(reader: SeamReader, position: OwnedPosition): Promise<Seam> {
  const { next, lastOffset, lastHash } = position
  const range = await reader.offsets()
  if (range === undefined) return broken(partitionGone(position))
  const outside = `position ${next} lies outside of the log, which has ${range.start} to ${range.appendOffset}`
  if (next < range.start) {
    return broken(purged(next, range.start, range.appendOffset, outside))
  }
  if (next > range.appendOffset) {
    return broken(tailLost(next, range.start, range.appendOffset, outside))
  }
  if (lastOffset === null || lastHash === null) return { seam: 'whole', history: undefined }
  // Older ones are purged with it.
  if (lastOffset < range.start) return { seam: 'unverifiable', history: undefined }
  const about = { reader, position: { next, lastOffset }, range }
  const newest = await look(about, { offset: lastOffset, hash: lastHash })
  if (newest.seam === 'broken' || newest.seam === 'hidden') return newest
  const filled = next > lastOffset + 1n ? await lookBetween(about) : undefined
  if (filled !== undefined) return filled
  if (newest.seam === 'whole') return newest
  const older = (await reader.older(range)).filter(({ offset }) => offset < lastOffset)
  let seam: Seam = newest
  for (let at = 0; at < older.length; at += Math.max(1, at - ONE_BY_ONE)) {
    seam = await look(about, older[at] as Checkpoint)
    if (seam.seam !== 'unverifiable') break
  }
  return seam
}

interface About {
  readonly reader: SeamReader
  readonly position: { readonly next: bigint; readonly lastOffset: bigint }
  readonly range: PartitionOffsets
}

/** What the place of one record that was handled says. */
async function look(
  { reader, position: { next, lastOffset }, range }: About,
  { offset, hash }: Checkpoint,
): Promise<Seam> {
  const { records, end, neverRecord, history } = await reader.at(offset)
  const evidence = { logStart: range.start, logEnd: range.appendOffset }
  const common = { code: 'diverged', from: null, to: lastOffset + 1n } as const
  if (neverRecord === true) {
    const found = `at offset ${offset}, where a record was handled, the log has the end of a transaction, or one that was aborted: the log was rewritten`
    return broken({ ...common, found, evidence })
  }
  const record = records[0]
  if (record?.offset !== offset) {
    // A seek backwards leaves the last record ahead of the position: that need not be seen.
    const hidden = record === undefined && end <= offset && offset < next
    return hidden ? { seam: 'hidden' } : { seam: 'unverifiable', history }
  }
  const foundHash = hashOf(record)
  if (Buffer.from(hash).equals(foundHash)) return { seam: 'whole', history }
  const found = `the record at offset ${offset} is not the one that was handled there: the log was rewritten`
  // Beside it stands the hash of the last record.
  const hex = offset === lastOffset ? { foundHash: Buffer.from(foundHash).toString('hex') } : {}
  return broken({ ...common, found, evidence: { ...evidence, ...hex } })
}

/**
 * Between the record last handled and the position there were holes only, so what stands there now was written since. Not
 * so after a seek, which leaves the last record where it was: then it is in no batch of this reading.
 */
async function lookBetween({
  reader,
  position: { next, lastOffset },
  range,
}: About): Promise<Seam | undefined> {
  const record = (await reader.at(lastOffset + 1n)).records[0]
  if (record === undefined || record.offset >= next) return undefined
  const [newest] = await reader.older(range)
  if (newest?.offset !== lastOffset) return undefined
  return broken({
    code: 'diverged',
    found: `the record at offset ${record.offset} was not there when the position came past it: the log was rewritten`,
    from: lastOffset + 1n,
    to: next,
    evidence: { logStart: range.start, logEnd: range.appendOffset },
  })
}

function broken(finding: Finding): Seam {
  return { seam: 'broken', finding }
}

/** What it means that nothing could be read at `position`; nothing when all is well. */
export function findingOf(position: OwnedPosition, result: ReadResult): Finding | undefined {
  const { next } = position
  if (result.corrupt !== undefined) {
    const { to, reason } = result.corrupt
    const { nextOffset: from, logStart, end: logEnd } = result
    const found = `what stands at offset ${from} cannot be read: ${reason}`
    return { code: 'corrupt', found, from, to, evidence: { logStart, logEnd } }
  }
  if (result.outOfRange === undefined) return undefined
  if (result.outOfRange === 'before-start') {
    const found = `position ${next} was purged: the log starts at ${result.logStart}`
    return purged(next, result.logStart, result.end, found)
  }
  if (result.outOfRange === 'behind-end') {
    const found = `position ${next} is behind the end of the log, ${result.end}: its tail was lost`
    return tailLost(next, result.logStart, result.end, found)
  }
  return partitionGone(position)
}

function partitionGone({ topic, topicId, partition }: OwnedPosition): Finding {
  const found = `partition ${partition} of ${topic} (id ${topicId}) is not in the log any more`
  return { code: 'topic-deleted', found, from: null, to: null }
}

function purged(next: bigint, logStart: bigint, logEnd: bigint, found: string): Finding {
  return { code: 'before-start', found, from: next, to: logStart, evidence: { logStart, logEnd } }
}

function tailLost(next: bigint, logStart: bigint, logEnd: bigint, found: string): Finding {
  return { code: 'behind-end', found, from: logEnd, to: next, evidence: { logStart, logEnd } }
}
