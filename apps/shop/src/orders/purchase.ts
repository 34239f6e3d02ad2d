import { foreign } from 'millrace'
import { z } from 'zod'

/** What a till writes: plain JSON that says neither its type nor its version. */
const tillPurchase = z.object({
  receipt: z.string().regex(/^R\d+-\d+$/),
  household: z.string().min(1),
  category: z.string().min(1),
  brand: z.string().min(1),
  price: z.number().nonnegative(),
  featured: z.boolean().optional(),
  displayed: z.boolean().optional(),
})

/** A purchase at a till, in the words of this service. */
export const purchase = foreign('till-purchases', {
  type: 'PURCHASE',
  source: 'TILLS',
  schema: tillPurchase,
  // The same receipt is the same purchase, wherever in the log it stands.
  id: ({ receipt }) => receipt,
  map: ({ receipt, household, category, brand, price }) => ({
    orderId: receipt,
    household,
    itemId: `${category}-${brand}`,
    category,
    priceCents: Math.round(price * 100),
  }),
})
