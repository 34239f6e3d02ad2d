import { Kafka, logLevel } from 'kafkajs'
import { runLatency } from './contender.ts'

// KafkaJS alone, with nothing written anywhere: what the broker and a client cost.
await runLatency({
  async start({ brokers, topic }, onHandled) {
    const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
    const consumer = kafka.consumer({ groupId: `latency-${process.pid}`, maxWaitTimeInMs: 250 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) => {
        onHandled(Number(message.key))
      },
    })
    const producer = kafka.producer()
    await producer.connect()
    return (n) =>
      producer.send({ topic, messages: [{ key: String(n), value: JSON.stringify({ n }) }] })
  },
})
