import { application, event, foreign, inTransaction, start } from 'millrace'
import { kafka } from 'millrace/kafka' // npm install @platformatic/kafka
import { z } from 'zod'
// A topic that somebody else writes, and an event of our own.
const price = z.object({ item: z.string(), cents: z.int() })
const listed = foreign('supplier-prices', { schema: price, key: (data) => data.item })
const priceChanged = event('PRICE_CHANGED', {
  source: 'CATALOG',
  topic: 'catalog',
  schema: price,
  key: (data) => data.item,
})

const catalog = application('catalog', { start: 'beginning' }).on(
  listed,
  inTransaction(async ({ data }, { tx }) => {
    // Row, event and position: all of it, or none. A relay moves the event to Kafka, once and in order.
    await tx.query('insert into price (item, cents) values ($1, $2)', [data.item, data.cents])
    await tx.publish(priceChanged, data)
  }),
)

await using millrace = await start({
  database: process.env.DATABASE_URL ?? '',
  log: kafka({ brokers: process.env.BROKERS ?? 'localhost:9092' }), // sasl, tls, …; brokers 3.7 or newer
  run: [catalog],
  topics: { catalog: { partitions: 6 } },
})
console.log(`reading from ${millrace.log.kind}`)
await new Promise((resolve) => process.once('SIGTERM', resolve))
