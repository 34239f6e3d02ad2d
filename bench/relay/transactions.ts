// The client's own transactional producers, with records that are at hand: what is left to Kafka when nothing is read.
import { Producer } from '@platformatic/kafka'
import { BATCH, benchRecord, LANES, taskOf, type RelayResult } from './contender.ts'

const { brokers, topic, count } = taskOf(process.argv)
const producers = Array.from(
  { length: LANES },
  (_, lane) =>
    new Producer({
      clientId: 'bench',
      bootstrapBrokers: [...brokers],
      transactionalId: `bench-${process.pid}-${lane}`,
      idempotent: true,
      producerId: -1n,
      producerEpoch: -1,
      timeout: 10_000,
      // By default a second for every transaction that follows another.
      retryDelay: (_client: unknown, operation: string) =>
        operation === 'addPartitionsToTransaction' ? 5 : 500,
    }),
)
const lanes = Array.from({ length: LANES }, (): ReturnType<typeof message>[] => [])
for (let n = 0; n < count; n += 1) lanes[n % LANES]?.push(message(n))

function message(n: number) {
  const { key, value, headers } = benchRecord(topic, n)
  const pairs = headers.map(([name, bytes]) => [Buffer.from(name), bytes] as const)
  return { topic, key, value, headers: new Map(pairs) }
}

const startedMs = performance.now()
await Promise.all(
  producers.map(async (producer, lane) => {
    const messages = lanes[lane] ?? []
    for (let at = 0; at < messages.length; at += BATCH) {
      const transaction = await producer.beginTransaction()
      await transaction.send({ messages: messages.slice(at, at + BATCH) })
      await transaction.commit()
    }
  }),
)
const result: RelayResult = { perSecond: (count / (performance.now() - startedMs)) * 1_000 }
for (const producer of producers) await producer.close()
console.log(JSON.stringify(result))
