import { application, inTransaction, skip, type Application } from 'millrace'
import { itemSold, orderPlaced } from './events.ts'
import { purchase } from './purchase.ts'

/** Makes an order of every purchase: the order, its events and the position are committed together, or not at all. */
export const orders: Application = application('orders', { batchRecords: 100 }).on(
  purchase,
  inTransaction(async ({ data, time }, { tx }) => {
    const { orderId, household, ...item } = data
    const { rowCount } = await tx.query(
      `/* shop:place-order */ with placed as (
         insert into shop_orders.placed_order (order_id, household, placed_at, total_cents)
         values ($1, $2, $3, $4) on conflict do nothing returning order_id
       )
       insert into shop_orders.order_item (order_id, item_id, category, price_cents)
       select order_id, $5, $6, $4 from placed`,
      [orderId, household, time, item.priceCents, item.itemId, item.category],
    )
    if (rowCount === 0) return skip('placed before')
    await tx.publish(orderPlaced, {
      orderId,
      household,
      placedAt: time.toISOString(),
      items: [item],
      totalCents: item.priceCents,
    })
    await tx.publish(itemSold, { orderId, ...item })
    return undefined
  }),
)
