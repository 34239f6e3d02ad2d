import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { runMemory, SLOW_MS } from './contender.ts'

await runMemory(async ({ brokers, topic }, onHandled) => {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: `memory-${process.pid}` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    partitionsConsumedConcurrently: 6,
    eachMessage: async () => {
      await sleep(SLOW_MS)
      onHandled()
    },
  })
})
