import { application, inTransaction, type Application } from 'millrace'
import { itemSold } from '../orders/events.ts'
import { ratePercent } from './rates.ts'

/** Writes a commission for every item sold, in the transaction that moves the position: once. */
export const commissions: Application = application('commissions').on(
  itemSold,
  inTransaction({
    prepare: ({ data }) => ratePercent(data.category),
    apply: async ({ data: { orderId, itemId, priceCents } }, percent, { tx }) => {
      await tx.query(
        `/* shop:write-commission */ insert into shop_commissions.commission
           (order_id, item_id, rate_percent, commission_cents) values ($1, $2, $3, $4)`,
        [orderId, itemId, percent, Math.round((priceCents * percent) / 100)],
      )
    },
  }),
)
