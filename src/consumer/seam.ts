import type { LogRecord, PartitionOffsets, ReadResult } from '../log/port.ts'
import type { Finding } from './gaps.ts'
import type { OwnedPosition } from './positions.ts'
import { hashOf } from './record-hash.ts'

/** What the look at the seam asks of one partition. */
export interface SeamReader {
  /** How far it reaches; undefined when it is gone. */
  offsets(): Promise<PartitionOffsets | undefined>
  /** The first record at or after `offset`, if there is one. */
  record(offset: bigint): Promise<LogRecord | undefined>
}

/**
 * Whether the log is still the one this position was made in: the position lies within it, and the record last seen, if
 * it is still there, has the content it had. Nothing when all is well.
 */
export async function checkSeam(
  reader: SeamReader,
  position: OwnedPosition,
): Promise<Finding | undefined> {
  const { next, lastOffset, lastHash } = position
  const range = await reader.offsets()
  if (range === undefined) return partitionGone(position)
  const outside = `position ${next} lies outside of the log, which has ${range.start} to ${range.appendOffset}`
  if (next < range.start) return purged(next, range.start, range.appendOffset, outside)
  if (next > range.appendOffset) return tailLost(next, range.start, range.appendOffset, outside)
  if (lastOffset === null || lastHash === null || lastOffset < range.start) return undefined
  const record = await reader.record(lastOffset)
  // Taken away by compaction: nothing can be said about it.
  if (record === undefined || record.offset !== lastOffset) return undefined
  const foundHash = hashOf(record)
  if (Buffer.from(lastHash).equals(foundHash)) return undefined
  return {
    code: 'diverged',
    found: `the record at offset ${lastOffset} is not the one that was handled there: the log was rewritten`,
    from: null,
    to: lastOffset + 1n,
    evidence: {
      logStart: range.start,
      logEnd: range.appendOffset,
      foundHash: Buffer.from(foundHash).toString('hex'),
    },
  }
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
