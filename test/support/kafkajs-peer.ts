import { Kafka, logLevel, Partitioners, type KafkaMessage, type Message } from 'kafkajs'
import { cleanup, type TestScope } from './cleanup.ts'

function client(brokers: readonly string[]): Kafka {
  return new Kafka({ clientId: 'peer', brokers: [...brokers], logLevel: logLevel.NOTHING })
}

/** Writes records with KafkaJS, in one request, and says in which partition each has been put. */
export async function kafkajsProduce(
  brokers: readonly string[],
  topic: string,
  records: readonly Message[],
): Promise<void> {
  const producer = client(brokers).producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  try {
    await producer.send({ topic, messages: [...records] })
  } finally {
    await producer.disconnect()
  }
}

/** The first `count` records of a topic, read with KafkaJS. */
export async function kafkajsConsume(
  t: TestScope,
  brokers: readonly string[],
  topic: string,
  count: number,
): Promise<(KafkaMessage & { readonly partition: number })[]> {
  const consumer = client(brokers).consumer({ groupId: `peer-${topic}` })
  cleanup(t, async () => consumer.disconnect())
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const seen: (KafkaMessage & { readonly partition: number })[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  await consumer.run({
    eachMessage: async ({ message, partition }) => {
      seen.push({ ...message, partition })
      if (seen.length === count) resolve()
      return Promise.resolve()
    },
  })
  await promise
  return seen
}
