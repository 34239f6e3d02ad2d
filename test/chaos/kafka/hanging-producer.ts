// A producer, not ours, that is in the middle of a transaction until somebody kills it. What it is to write stands in
// CHAOS_HANGING, as JSON.
import { Producer } from '@platformatic/kafka'

/** What the producer is told. */
export interface HangingConfig {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly records: number
  /** After this Kafka gives the transaction up, in milliseconds. */
  readonly transactionTimeoutMs: number
}

const config = JSON.parse(process.env['CHAOS_HANGING'] ?? '') as HangingConfig
const { brokers, topic, records, transactionTimeoutMs } = config
const producer: Producer = new Producer({
  clientId: 'hanging',
  bootstrapBrokers: [...brokers],
  idempotent: true,
  transactionalId: topic,
  producerId: -1n,
  producerEpoch: -1,
  // With this it asks for its number, so it is the transaction's too.
  timeout: transactionTimeoutMs,
  retryDelay: 10,
})
const tx = await producer.beginTransaction()
const values = Array.from({ length: records }, (_, n) => Buffer.from(`never ${n}`))
await tx.send({ messages: values.map((value) => ({ topic, partition: 0, value })) })
console.log(JSON.stringify({ event: 'written' }))
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
