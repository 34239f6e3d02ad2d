import { expectTypeOf } from 'expect-type'
import { z } from 'zod'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { toJob } from '../../src/bridge/to-job.ts'
import { application } from '../../src/consumer/application.ts'
import { skip } from '../../src/consumer/handler.ts'
import { event } from '../../src/events/event.ts'
import { foreign } from '../../src/events/foreign.ts'
import { job } from '../../src/jobs/job.ts'

const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({
    orderId: z.string(),
    soldAt: z.iso.datetime().transform((text) => new Date(text)),
  }),
})
const purchase = foreign('purchases', { schema: z.object({ cents: z.int() }) })
const sendReceipt = job('mail.send-receipt', {
  args: z.object({ orderId: z.string() }),
  handle() {},
})
type Sold = { orderId: string; soldAt: Date }

const search = application('search')
  .on(
    itemSold,
    toJob(sendReceipt, ({ type, data, id }) => {
      expectTypeOf(type).toEqualTypeOf<'ITEM_SOLD'>()
      // What handlers get, not what was published.
      expectTypeOf(data).toEqualTypeOf<Sold>()
      expectTypeOf(id).toEqualTypeOf<string>()
      return data.orderId === '' ? skip('no order') : { orderId: data.orderId }
    }),
  )
  .on(
    itemSold,
    inTransaction(async ({ data }, { tx }) => {
      expectTypeOf(data).toEqualTypeOf<Sold>()
      await tx.insert(sendReceipt, { orderId: data.orderId })
      // @ts-expect-error args of another kind
      await tx.insert(sendReceipt, { order: data.orderId })
      await tx.publish(itemSold, { orderId: data.orderId, soldAt: '2026-11-23T00:00:00Z' })
      // @ts-expect-error publishing takes the wire form, not the handlers'
      await tx.publish(itemSold, data)
    }),
    { name: 'sold' },
  )
  .on(
    itemSold,
    inTransaction({
      prepare: async ({ data }) => ({ price: data.orderId.length }),
      apply({ data }, prepared) {
        expectTypeOf(data).toEqualTypeOf<Sold>()
        expectTypeOf(prepared).toEqualTypeOf<{ price: number }>()
      },
    }),
    { name: 'priced', once: '7d' },
  )
  .on(
    purchase,
    inTransaction(({ data }) => {
      expectTypeOf(data).toEqualTypeOf<{ cents: number }>()
    }),
  )
expectTypeOf(search.name).toEqualTypeOf<string>()

application('wrong').on(
  itemSold,
  // @ts-expect-error the job wants an orderId
  toJob(sendReceipt, ({ data }) => ({ order: data.orderId })),
)
application('wrong').on(
  itemSold,
  // @ts-expect-error cents are of the foreign record, not of this event
  toJob(sendReceipt, ({ data }) => ({ orderId: String(data.cents) })),
)
