/** What a contender is told, as JSON in its only argument. */
export interface RelayTask {
  readonly databaseUrl: string
  readonly brokers: readonly string[]
  readonly topic: string
  readonly count: number
}

/** What it says, as JSON on its last line. */
export interface RelayResult {
  readonly perSecond: number
}

/** Records of one transaction. */
export const BATCH = 2_000
/** How many transactions go on at once: as many as the outbox has shards. */
export const LANES = 4

/** A record as an event is one: a key, about 250 bytes of JSON, and the headers of CloudEvents. */
export interface BenchRecord {
  readonly topic: string
  readonly key: Buffer
  readonly value: Buffer
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/** Record number `n`. */
export function benchRecord(topic: string, n: number): BenchRecord {
  const id = `01a205a0-d634-7000-8000-${String(n).padStart(12, '0')}`
  const headers = {
    ce_specversion: '1.0',
    ce_id: id,
    ce_type: 'ITEM_SOLD',
    ce_source: 'ORDER_SERVICE',
    ce_time: '2026-11-23T00:00:00.000Z',
    'content-type': 'application/json',
    ce_correlationid: id,
  }
  return {
    topic,
    key: Buffer.from(`order-${n % 5_000}`),
    value: Buffer.from(JSON.stringify({ n, text: 'x'.repeat(230) })),
    headers: Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]),
  }
}

/** The task of this process. */
export function taskOf(argv: readonly string[]): RelayTask {
  return JSON.parse(argv[2] ?? '') as RelayTask
}
