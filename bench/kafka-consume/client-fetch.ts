import { Admin, Connection, fetchV17 } from '@platformatic/kafka'
import { run } from './contender.ts'

const MIB = 1_048_576
const READ_COMMITTED = 1

// The client's request and its own parser in a bare loop: the most that the client can do.
await run(async ({ brokers, topic, partitions }, onRecord) => {
  const admin = new Admin({ clientId: 'bench', bootstrapBrokers: [...brokers] })
  const metadata = await admin.metadata({ topics: [topic] })
  const topicId = metadata.topics.get(topic)?.id ?? ''
  const [broker] = metadata.brokers.values()
  const connection = new Connection('bench', {})
  await connection.connect(broker?.host ?? '', broker?.port ?? 0)
  const positions = Array.from({ length: partitions }, () => 0n)
  for (;;) {
    const { responses } = await fetchV17.api.async(
      connection,
      250,
      1,
      50 * MIB,
      READ_COMMITTED,
      0,
      -1,
      [
        {
          topicId,
          partitions: positions.map((fetchOffset, partition) => ({
            partition,
            currentLeaderEpoch: -1,
            fetchOffset,
            lastFetchedEpoch: -1,
            partitionMaxBytes: MIB,
          })),
        },
      ],
      [],
      '',
    )
    for (const { partitionIndex, records: batches } of responses[0]?.partitions ?? []) {
      for (const { firstOffset, lastOffsetDelta, records } of batches ?? []) {
        for (const { value } of records) onRecord(value)
        positions[partitionIndex] = firstOffset + BigInt(lastOffsetDelta) + 1n
      }
    }
  }
})
