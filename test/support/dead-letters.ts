import type { NewDeadLetter } from '../../src/dead-letter/dead-letter.ts'

/** Id of the topic `orders` of {@link deadLetter}. */
export const TOPIC_ID = '0198c0de-0000-7000-8000-000000000001'

/** A dead letter of a record at `orders/3@<offset>`, but for what is given. */
export function deadLetter(
  offset: number | bigint,
  more: Partial<NewDeadLetter> = {},
): NewDeadLetter {
  return {
    application: 'billing',
    handler: 'bill',
    stage: 'apply',
    origin: {
      topic: 'orders',
      topicId: TOPIC_ID,
      partition: 3,
      offset: BigInt(offset),
      generation: 0,
    },
    record: recordOf(JSON.stringify({ orderId: `o-${offset}`, currency: 'GBP' }), `k${offset}`),
    event: { id: `e${offset}`, type: 'ORDERED', version: 2 },
    job: null,
    error: { class: 'TypeError', message: `order ${offset} has no price` },
    attempts: 5,
    codeVersion: '1.4.2',
    trace: {},
    ...more,
  }
}

/** A record with that value. */
export function recordOf(
  value: string | Uint8Array | null,
  key: string | null = 'k',
  headers: Readonly<Record<string, string>> = { ce_source: 'web@1.41' },
): NonNullable<NewDeadLetter['record']> {
  return {
    key: key === null ? null : Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)] as const),
    timestamp: new Date('2026-11-01T00:00:00Z'),
  }
}

/** What data may look like that nobody expected: each must be kept, shown harmlessly, and stop nothing. */
export const ODD_VALUES: Readonly<Record<string, string | Uint8Array | null>> = {
  'U+0000 in a text': '{"currency":"G\\u0000BP"}',
  'a lone surrogate': '{"currency":"\\ud800"}',
  'no UTF-8': Buffer.from([0xff, 0xfe, 0x00, 0x1b, 0x5b, 0x32, 0x4a]),
  'UTF-16': Buffer.from('{"currency":"GBP"}', 'utf16le'),
  'a byte order mark': '\ufeff{"currency":"GBP"}',
  'nothing at all': '',
  'a tombstone': null,
  'numbers past what a double holds': '{"n":9007199254740993,"m":1e400,"z":-0,"x":1e200000}',
  'a name twice': '{"currency":"EUR","currency":"GBP"}',
  'nesting of 5,000': `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
  'nesting of 100,000': `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
  prototypes: '{"__proto__":{"currency":"GBP"},"constructor":{"prototype":1}}',
  'escapes of a terminal':
    '{"currency":"\u202eGBP\\u001b[2J\\r\\n","\\u001b]8;;http://evil\\u0007":1}',
  'no JSON': '{"currency":"GBP"',
  'a number': '5',
  'more than is looked into': `{"currency":"GBP","x":"${'x'.repeat(1_100_000)}"}`,
}
