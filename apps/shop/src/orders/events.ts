import { event } from 'millrace'
import { z } from 'zod'

const item = z.object({
  itemId: z.string(),
  category: z.string(),
  priceCents: z.int().nonnegative(),
})

/** A household has ordered; everything that others need to know of it is in here. */
export const orderPlaced = event('ORDER_PLACED', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({
    orderId: z.string(),
    household: z.string(),
    placedAt: z.iso.datetime(),
    items: z.array(item),
    totalCents: z.int().nonnegative(),
  }),
  key: ({ orderId }) => orderId,
})

/** One item of an order is sold. */
export const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: item.extend({ orderId: z.string() }),
  key: ({ orderId }) => orderId,
})
