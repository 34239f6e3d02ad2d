import { z } from 'zod'

/** Everything that a confirmation says. */
export const confirmationArgs = z.object({
  orderId: z.string(),
  household: z.string(),
  placedAt: z.iso.datetime(),
  items: z.array(z.object({ itemId: z.string(), priceCents: z.int() })),
  totalCents: z.int(),
})

/** A mail as it is handed over for sending. */
export interface Mail {
  /** In angle brackets; the same for every attempt to send this mail. */
  readonly messageId: string
  readonly to: string
  readonly subject: string
  readonly text: string
}

/** The confirmation of an order; `key` is the same in every attempt, and so is the Message-ID. */
export function confirmation(args: z.infer<typeof confirmationArgs>, key: string): Mail {
  const { orderId, household, placedAt, items, totalCents } = args
  const lines = items.map(({ itemId, priceCents }) => `  ${itemId.padEnd(24)} ${money(priceCents)}`)
  return {
    messageId: `<${key}@shop.example>`,
    to: `${household}@households.example`,
    subject: `Your order ${orderId}`,
    text: [
      'Thank you for your order.',
      '',
      `Order ${orderId} of ${placedAt.slice(0, 10)}`,
      '',
      ...lines,
      `  ${'Total'.padEnd(24)} ${money(totalCents)}`,
      '',
    ].join('\n'),
  }
}

function money(cents: number): string {
  return `$${(cents / 100).toFixed(2).padStart(8)}`
}
