import { z } from 'zod'
import type { Application } from '../../src/consumer/application.ts'
import { application } from '../../src/consumer/application.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'

/** Partitions of the topic, and keys of the records. */
export const PARTITIONS = 6
export const KEYS = 5_000

const saleSchema = z.object({
  n: z.int(),
  household: z.string(),
  price: z.object({ cents: z.int(), currency: z.string() }),
})

/** A sale as the producers write it since their last deploy: version 2. */
export const sale = event('SALE', {
  source: 'TILLS',
  topic: 'sales',
  version: 2,
  schema: saleSchema,
  key: ({ household }) => household,
})

const oldSale = event('SALE', {
  source: 'TILLS',
  topic: 'sales',
  schema: z.object({ n: z.int(), household: z.string(), cents: z.int() }),
  key: ({ household }) => household,
})

/** Sale number `n`. Those of `bad` have a price that no code accepts. */
export function saleOf(n: number, bad: ReadonlySet<number>): z.infer<typeof saleSchema> {
  return {
    n,
    household: `household-${n % KEYS}`,
    price: { cents: bad.has(n) ? -1 : 100 + (n % 900), currency: 'EUR' },
  }
}

/** The code that cannot read version 2, and goes on whatever fails. */
export const broken = (name: string): Application =>
  application(name, { floodBrake: false }).on(
    oldSale,
    inTransaction(() => {}),
  )

/** The same with the brake on, as it is when nobody says otherwise. */
export const braked = (name: string): Application =>
  application(name).on(
    oldSale,
    inTransaction(() => {}),
  )

/** The code that can; every sale becomes a row of `ledger`, a batch with one statement. */
export const mended = (name: string): Application =>
  application(name).on(
    sale,
    inTransaction({
      prepare: ({ data }) => {
        if (data.price.cents < 0) throw permanent('a price cannot be negative')
      },
      async applyBatch(records, { tx }) {
        const values = records.map(({ event: { data } }) => data)
        await tx.query(
          `insert into ledger (app, n, household, cents)
           select $1, * from unnest($2::int[], $3::text[], $4::int[])`,
          [
            name,
            values.map(({ n }) => n),
            values.map(({ household }) => household),
            values.map(({ price }) => price.cents),
          ],
        )
      },
    }),
  )
