import { application, event, inTransaction, job, start, toJob } from 'millrace'
import { z } from 'zod'
const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({ orderId: z.string(), itemId: z.string(), priceCents: z.int() }),
  key: (data) => data.orderId, // order is kept per key
})
const sendReceipt = job('mail.send-receipt', {
  args: z.object({ orderId: z.string() }),
  handle: ({ orderId }, job) => console.log(`receipt for ${orderId}`, job.idempotencyKey.length),
})
const mail = application('mail').on(
  itemSold,
  toJob(sendReceipt, ({ data }) => ({ orderId: data.orderId })),
)
const revenue = application('revenue').on(
  itemSold,
  inTransaction(async ({ data }, { tx }) => {
    await tx.query('insert into revenue (cents) values ($1)', [data.priceCents]) // once, with the position
  }),
)

const { DATABASE_URL: database = '' } = process.env
await using millrace = await start({ database, run: [mail, revenue] })
await millrace.transaction(async (tx) => {
  await tx.query(`insert into orders (id) values ('o-1')`) // your row, the event, a job: all of it, or none
  await tx.publish(itemSold, { orderId: 'o-1', itemId: 'yogurt', priceCents: 790 })
})
await new Promise((resolve) => process.once('SIGTERM', resolve)) // then the end of the block drains and stops it
