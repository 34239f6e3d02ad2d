import { produceV10, produceV11, produceV9, Writer, type Reader } from '@platformatic/kafka'
import type { RawApi } from './broker-connection.ts'
import { answerOf } from './protocol.ts'

/** A batch for one partition. */
export interface ProduceBatch {
  readonly topic: string
  readonly partition: number
  readonly bytes: Buffer
}

/** What became of a batch. */
export interface ProducedBatch {
  readonly topic: string
  readonly partition: number
  /** Kafka's error code, 0 for none. */
  readonly error: number
  readonly message: string | undefined
  readonly baseOffset: bigint
}

const ALL_REPLICAS = -1
const READERS = new Map(
  [produceV9, produceV10, produceV11].map(({ api, parseResponse }) => [api.version, parseResponse]),
)

/**
 * Kafka's Produce of batches that are written already: sent again, a batch must be the same byte for byte, or the broker
 * does not know it for the same. The client's own request writes them anew each time.
 */
export function produceApi(
  batches: readonly ProduceBatch[],
  timeoutMs: number,
  transactionalId: string | null = null,
): RawApi<ProducedBatch[]> {
  return {
    key: produceV9.api.key,
    versions: [11, 10, 9],
    write: () =>
      Writer.create()
        .appendString(transactionalId)
        .appendInt16(ALL_REPLICAS)
        .appendInt32(timeoutMs)
        .appendArray([...Map.groupBy(batches, ({ topic }) => topic)], (writer, [topic, some]) => {
          writer.appendString(topic).appendArray(some, (one, { partition, bytes }) => {
            one
              .appendInt32(partition)
              .appendUnsignedVarInt(bytes.length + 1)
              .append(bytes)
          })
        })
        .appendTaggedFields(),
    read: (version, reader) => readProduced(version, reader),
  }
}

function readProduced(version: number, reader: Reader): ProducedBatch[] {
  const parse = READERS.get(version) as typeof produceV9.parseResponse
  let response: produceV9.ProduceResponse
  try {
    response = parse(0, produceV9.api.key, version, reader)
  } catch (error) {
    const answer = answerOf(error)
    if (answer === undefined) throw error
    response = answer as produceV9.ProduceResponse
  }
  return response.responses.flatMap(({ name, partitionResponses }) =>
    partitionResponses.map(({ index, errorCode, baseOffset, errorMessage }) => ({
      topic: name,
      partition: index,
      error: errorCode,
      message: errorMessage ?? undefined,
      baseOffset,
    })),
  )
}
