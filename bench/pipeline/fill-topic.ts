import { Kafka, logLevel } from 'kafkajs'

/** Makes a topic of six partitions. */
export async function makeTopic(brokers: readonly string[], topic: string): Promise<void> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 6 }], waitForLeaders: true })
  await admin.disconnect()
}

/** Makes a topic of six partitions with `count` records of JSON, keyed, each with this text. */
export async function fillTopic(
  brokers: readonly string[],
  topic: string,
  count: number,
  text = 'hello',
): Promise<void> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  await makeTopic(brokers, topic)
  // Plain, it writes records twice when an answer is late.
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let at = 0; at < count; at += 5_000) {
    await producer.send({
      topic,
      messages: Array.from({ length: Math.min(5_000, count - at) }, (_, i) => ({
        key: String(at + i),
        value: JSON.stringify({ n: at + i, text }),
      })),
    })
  }
  await producer.disconnect()
}
