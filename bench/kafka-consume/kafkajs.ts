import { Kafka, logLevel } from 'kafkajs'
import { run } from './contender.ts'

await run(async ({ brokers, topic, partitions }, onRecord) => {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: `bench-${process.pid}` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    partitionsConsumedConcurrently: partitions,
    autoCommit: false,
    eachBatch: ({ batch }) => {
      for (const { value } of batch.messages) onRecord(value)
      return Promise.resolve()
    },
  })
})
