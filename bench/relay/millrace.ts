// The relay: from its start until the database knows that everything is in Kafka.
import { start } from '../../src/app/start.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { summarizeOutbox } from '../../src/outbox/queries.ts'
import { taskOf, type RelayResult } from './contender.ts'

const { databaseUrl, brokers, count } = taskOf(process.argv)
const startedMs = performance.now()
const millrace = await start({
  database: databaseUrl,
  log: kafka({ brokers }),
  queues: false,
  upkeep: false,
})
while ((await summarizeOutbox(millrace.database)).ageMs !== null) {
  await new Promise((resolve) => setTimeout(resolve, 20))
}
const result: RelayResult = { perSecond: (count / (performance.now() - startedMs)) * 1_000 }
await millrace.stop()
console.log(JSON.stringify(result))
