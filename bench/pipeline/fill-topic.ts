import { Kafka, logLevel } from 'kafkajs'

/** Makes a topic of six partitions with `count` records of JSON, keyed. */
export async function fillTopic(
  brokers: readonly string[],
  topic: string,
  count: number,
): Promise<void> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 6 }], waitForLeaders: true })
  await admin.disconnect()
  // Plain, it writes records twice when an answer is late.
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let at = 0; at < count; at += 5_000) {
    await producer.send({
      topic,
      messages: Array.from({ length: Math.min(5_000, count - at) }, (_, i) => ({
        key: String(at + i),
        value: JSON.stringify({ n: at + i, text: 'hello' }),
      })),
    })
  }
  await producer.disconnect()
}
