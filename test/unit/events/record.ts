import type { Header, PlacedRecord } from '../../../src/events/raw-record.ts'

/** Headers of an event as another publisher would write them; `null` leaves one out. */
export function headersOf(
  headers: Readonly<Record<string, string | Uint8Array | null>> = {},
): Header[] {
  const all: Readonly<Record<string, string | Uint8Array | null>> = {
    ce_specversion: '1.0',
    ce_id: 'e-1',
    ce_type: 'ITEM_SOLD',
    ce_source: 'ORDER_SERVICE',
    ce_time: '2026-11-22T20:15:00.000Z',
    ...headers,
  }
  return Object.entries(all).flatMap(([name, value]): Header[] =>
    value === null ? [] : [[name, typeof value === 'string' ? Buffer.from(value) : value]],
  )
}

/** A record of topic `orders` with a valid event, but for what is given. */
export function recordWith(
  parts: Partial<PlacedRecord> & { readonly json?: string },
): PlacedRecord {
  const { json = '{"orderId":"o-1","priceCents":1250}', ...rest } = parts
  return {
    topic: 'orders',
    topicId: '0190c0de-0000-7000-8000-000000000001',
    partition: 3,
    offset: 42n,
    key: Buffer.from('o-1'),
    value: Buffer.from(json),
    headers: headersOf(),
    timestamp: new Date('2026-11-22T20:15:01.000Z'),
    ...rest,
  }
}
