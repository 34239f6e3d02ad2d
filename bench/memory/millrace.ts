import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import { foreign } from '../../src/events/foreign.ts'
import { kafka } from '../../src/kafka/index.ts'
import { runMemory, SLOW_MS } from './contender.ts'

const schema = z.object({ n: z.int(), text: z.string() })

await runMemory(async ({ databaseUrl, brokers, topic }, onHandled) => {
  const slow = application('slow', { start: 'beginning' }).on(
    foreign(topic, { schema }),
    inTransaction(async () => {
      await sleep(SLOW_MS)
      onHandled()
    }),
  )
  await start({ database: databaseUrl, log: kafka({ brokers }), run: [slow] })
})
