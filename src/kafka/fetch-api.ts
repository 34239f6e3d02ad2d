import { fetchV13, fetchV15, type Reader } from '@platformatic/kafka'
import type { RawApi } from './broker-connection.ts'
import type { AbortedTransaction } from './record-batch.ts'

/** One partition of a fetch. */
export interface FetchAsk {
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  readonly leaderEpoch: number
  readonly maxBytes: number
}

/** What is asked of one broker. */
export interface FetchRequest {
  readonly asks: readonly FetchAsk[]
  /** How long the broker waits for the first record, in milliseconds. */
  readonly maxWaitMs: number
  /** Most bytes of the answer; its first batch is sent whatever its size. */
  readonly maxBytes: number
}

/** What the broker says of one partition. */
export interface FetchedPartition {
  readonly topicId: string
  readonly partition: number
  /** Kafka's error code, 0 for none. */
  readonly error: number
  /** Where the next record is appended. */
  readonly highWatermark: bigint
  /** Where the decided part ends: below it no transaction is open. */
  readonly lastStableOffset: bigint
  readonly logStart: bigint
  readonly aborted: readonly AbortedTransaction[]
  /** Its batches, in a buffer of their own or one of 64 KiB at most. */
  readonly records: Buffer
}

/** A broker's answer. */
export interface FetchResponse {
  /** How long the broker wants to be left alone, in milliseconds. */
  readonly throttleMs: number
  /** For all partitions; 0 for none. */
  readonly error: number
  readonly partitions: readonly FetchedPartition[]
}

const READ_COMMITTED = 1
/** No session: each request names all that it wants, so errors leave nothing behind. */
const NO_SESSION = 0
const NO_SESSION_EPOCH = -1
const EMPTY = Buffer.alloc(0)

/** Versions of Fetch by topic id that we can read; all have the same answer. */
export const FETCH: Pick<RawApi<unknown>, 'key' | 'versions'> = {
  key: fetchV13.api.key,
  versions: [17, 16, 15, 14, 13],
}

/**
 * Kafka's Fetch by topic id. The client's own readers of the answer go through it byte by byte; this one takes the
 * batches as they are.
 */
export function fetchApi({ asks, maxWaitMs, maxBytes }: FetchRequest): RawApi<FetchResponse> {
  return {
    ...FETCH,
    write(version) {
      // Since version 15 a consumer does not say that it is no replica.
      const { createRequest } = version >= 15 ? fetchV15 : fetchV13
      return createRequest(
        maxWaitMs,
        1,
        maxBytes,
        READ_COMMITTED,
        NO_SESSION,
        NO_SESSION_EPOCH,
        topicsOf(asks),
        [],
        '',
      )
    },
    read: (_version, reader) => readResponse(reader),
  }
}

/** In the order of the asks: the broker fills the answer in this order. */
function topicsOf(asks: readonly FetchAsk[]): Parameters<typeof fetchV13.createRequest>[6] {
  return [...Map.groupBy(asks, ({ topicId }) => topicId)].map(([topicId, ofTopic]) => ({
    topicId,
    partitions: ofTopic.map(({ partition, offset, leaderEpoch, maxBytes }) => ({
      partition,
      currentLeaderEpoch: leaderEpoch,
      fetchOffset: offset,
      lastFetchedEpoch: -1,
      partitionMaxBytes: maxBytes,
    })),
  }))
}

function readResponse(reader: Reader): FetchResponse {
  const throttleMs = reader.readInt32()
  const error = reader.readInt16()
  reader.readInt32()
  const partitions: FetchedPartition[] = []
  reader.readArray(() => {
    const topicId = reader.readUUID().toLowerCase()
    reader.readArray(() => {
      partitions.push(readPartition(reader, topicId))
    })
  })
  return { throttleMs, error, partitions }
}

function readPartition(reader: Reader, topicId: string): FetchedPartition {
  const partition = reader.readInt32()
  const error = reader.readInt16()
  const highWatermark = reader.readInt64()
  const lastStableOffset = reader.readInt64()
  const logStart = reader.readInt64()
  const aborted = reader.readArray(() => ({
    producerId: reader.readInt64(),
    firstOffset: reader.readInt64(),
  }))
  // The preferred replica: not asked for.
  reader.readInt32()
  const records = reader.readNullableBytes() ?? EMPTY
  return {
    topicId,
    partition,
    error,
    highWatermark,
    lastStableOffset,
    logStart,
    aborted,
    records,
  }
}
