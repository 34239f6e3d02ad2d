import { createHash } from 'node:crypto'
import type { Purchase } from '../purchases.ts'

/** The topic that the tills write. */
export const TILL_TOPIC = 'till-purchases'

/** How a till can break a record. */
export type Breakage = 'cut off' | 'price as text' | 'no household'

/** What a till writes, in plain JSON, with nothing that says what it is. */
export interface TillRecord {
  /** Of the household, so that its purchases keep their order. */
  readonly key: Uint8Array | null
  readonly value: Uint8Array
}

/** One purchase in so many arrives broken. */
const ONE_BROKEN_IN = 250
const BREAKAGES: readonly Breakage[] = ['price as text', 'cut off', 'no household']
const SEED = 'checkout'

/**
 * What the tills write for the purchase with this number, counted from 0 and never ending: after the last one the
 * households begin again. The same number always gives the same bytes, the broken ones included.
 */
export function tillRecord(purchases: readonly Purchase[], number: number): TillRecord {
  const purchase = purchaseOf(purchases, number)
  const { category, household, brand, unitPrice, featured, displayed } = purchase
  const breakage = breakageOf(number)
  const json = JSON.stringify({
    receipt: receiptOf(purchases, number),
    ...(breakage === 'no household' ? {} : { household: `${category}-${household}` }),
    category,
    brand,
    price: breakage === 'price as text' ? `${unitPrice} USD` : Number(unitPrice),
    ...(featured === null ? {} : { featured }),
    ...(displayed === null ? {} : { displayed }),
  })
  const text = breakage === 'cut off' ? json.slice(0, Math.floor(json.length * 0.6)) : json
  return {
    key: breakage === 'no household' ? null : Buffer.from(`${category}-${household}`),
    value: Buffer.from(text),
  }
}

/** Round and row, both counted from 1: `R2-000017`. */
export function receiptOf(purchases: readonly Purchase[], number: number): string {
  const round = Math.floor(number / purchases.length) + 1
  const row = (number % purchases.length) + 1
  return `R${round}-${String(row).padStart(6, '0')}`
}

/** How the record with this number is broken, or undefined. By its number and not by chance, so that it is known. */
export function breakageOf(number: number): Breakage | undefined {
  const digest = createHash('sha256').update(`${SEED}:${number}`).digest()
  if (digest.readUInt32BE(0) % ONE_BROKEN_IN !== 0) return undefined
  return BREAKAGES[digest.readUInt32BE(4) % BREAKAGES.length]
}

function purchaseOf(purchases: readonly Purchase[], number: number): Purchase {
  const purchase = purchases[number % purchases.length]
  if (purchase === undefined) throw new RangeError(`no purchase has the number ${number}`)
  return purchase
}
