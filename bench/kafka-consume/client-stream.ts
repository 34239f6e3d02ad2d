import { Consumer, MessagesStreamModes } from '@platformatic/kafka'
import { run } from './contender.ts'

// The client's consumer as its documentation shows it, with fetches of the size that ours have.
await run(async ({ brokers, topic }, onRecord) => {
  const consumer = new Consumer({
    clientId: 'bench',
    groupId: `bench-${process.pid}`,
    bootstrapBrokers: [...brokers],
    maxBytes: 1_048_576,
  })
  const stream = await consumer.consume({
    topics: [topic],
    mode: MessagesStreamModes.EARLIEST,
    autocommit: false,
  })
  for await (const { value } of stream) onRecord(value as Buffer)
})
