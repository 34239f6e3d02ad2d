import type { DeadLetterStage } from '../../../src/dead-letter/dead-letter.ts'
import type { ErrorDescription } from '../../../src/errors/describe.ts'

/** A failure as it is fingerprinted. */
export interface Failure {
  readonly stage: DeadLetterStage
  readonly handler: string
  readonly error: ErrorDescription
}

const HERE = process.cwd()

function failure(
  error: Partial<ErrorDescription> & { readonly message: string },
  more: Partial<Failure> = {},
): Failure {
  return { stage: 'apply', handler: 'bill', error: { class: 'Error', ...error }, ...more }
}

function says(...messages: readonly string[]): readonly Failure[] {
  return messages.map((message) => failure({ message }))
}

function thrownAt(...frames: readonly string[]): Failure {
  const stack = ['TypeError: no price', ...frames.map((frame) => `    at ${frame}`)].join('\n')
  return failure({ class: 'TypeError', message: 'no price', stack })
}

function refused(message: string, ...issues: readonly [path: string, kind: string][]): Failure {
  const error = {
    class: 'MillraceError',
    code: 'E_EVENT_INVALID',
    message: `event 'ITEM_SOLD' does not match its schema:\n  - ${message}`,
    issues: issues.map(([path, kind]) => ({ path, kind })),
  }
  return failure(error, { stage: 'validate', handler: '*' })
}

/** Failures by their cause: those of one group have one fingerprint, those of two have two. */
export const CORPUS: Readonly<Record<string, readonly Failure[]>> = {
  'an order that is missing, by any id': says(
    'order 5 not found',
    'order 1234567 not found',
    'order 12345678 not found',
    'order 1234567890123 not found',
    'order 0198c0de-0000-7000-8000-00000000002a not found',
    'order 0198C0DE-0000-7000-8000-00000000002A not found',
    'order 01ARZ3NDEKTSV4RRFFQ69G5FAV not found',
    'order 01arz3ndektsv4rrffq69g5fav not found',
    'order deadbeefcafe not found',
    'order 65f1a2b3c4d5e6f708192a3b not found',
    'order 0x1f not found',
    'order -7 not found',
    'order 12,345.67 not found',
    'order 1e400 not found',
    'order  7\n  not found ',
    'order 7, 8 and 9 not found',
  ),
  'an item that is missing': says('item 5 not found'),
  'an order number with a prefix': says('order ORD-1 not found', 'order ORD-4711 not found'),
  'a user whose name is quoted': says(
    'user "Ana" is gone',
    "user 'Ana' is gone",
    'user `Ana` is gone',
    'user “Ana” is gone',
    `user 'O'Brien' is gone`,
    'user "say \\"hi\\" to 12" is gone',
    'user "" is gone',
  ),
  'a user by e-mail address': says(
    'user ana@example.org is gone',
    'user bo.b+x@mail.example.co.uk is gone',
  ),
  'a time that is in the past': says(
    'due at 2026-11-23T06:02:26.123Z, which is over',
    'due at 2025-01-01 00:00:00+01:00, which is over',
    'due at 2025-01-01, which is over',
  ),
  'a host that answers with an error': says(
    'GET http://localhost:8080/orders/7?x=1 gave 500',
    'GET https://api.example.org/v2/orders/abc gave 503',
  ),
  'a file that is missing': says(
    'no such file: /var/lib/shop/a.csv',
    'no such file: /srv/releases/20261101/data/b.csv',
    'no such file: ./b.csv',
    'no such file: data/12/b.csv',
    'no such file: C:\\shop\\b.csv',
  ),
  'a time-out': says('timed out after 30s', 'timed out after 5s'),
  'a time-out in milliseconds': says('timed out after 3000ms', 'timed out after 5ms'),
  'an apostrophe that is no quote': says(
    "it can't be billed 12 times",
    "it can't be billed 9 times",
  ),
  'an apostrophe in other words': says("it won't be billed 12 times"),
  'a value longer than what is looked at': says(
    `refused "${'x'.repeat(2_000)}" for good`,
    `refused "${'y z '.repeat(900)}" for good`,
  ),
  'utf8 is no number': says('encoding utf8 is not known'),
  'utf16 has one': says('encoding utf16 is not known', 'encoding utf32 is not known'),
  'a property of nothing': [
    failure({
      class: 'TypeError',
      message: "Cannot read properties of undefined (reading 'price')",
    }),
  ],
  'another property of nothing': [
    failure({
      class: 'TypeError',
      message: "Cannot read properties of undefined (reading 'amount')",
    }),
  ],
  'the same text from another class': [
    failure({ class: 'RangeError', message: 'order 5 not found' }),
  ],
  'the same text with a code': [
    failure({ class: 'DatabaseError', code: '23505', message: 'duplicate key' }),
  ],
  'the same text with another code': [
    failure({ class: 'DatabaseError', code: '23503', message: 'duplicate key' }),
  ],
  'the same text for another handler': [
    failure({ message: 'order 5 not found' }, { handler: 'ship' }),
  ],
  'the same text at another stage': [
    failure({ message: 'order 5 not found' }, { stage: 'prepare' }),
    failure({ message: 'order 6 not found' }, { stage: 'prepare' }),
  ],
  'what failed because nobody answered': [
    failure({
      class: 'TypeError',
      message: 'fetch failed',
      causes: [{ class: 'Error', code: 'ECONNREFUSED', message: 'connect 10.0.0.1:80' }],
    }),
    failure({
      class: 'TypeError',
      message: 'fetch failed',
      causes: [{ class: 'Error', code: 'ECONNREFUSED', message: 'connect 10.0.0.2:8080' }],
    }),
  ],
  'what failed because nobody knows the name': [
    failure({
      class: 'TypeError',
      message: 'fetch failed',
      causes: [{ class: 'Error', code: 'ENOTFOUND', message: 'getaddrinfo mail' }],
    }),
  ],
  'code of the application, wherever and by whichever tool it was built': [
    thrownAt(
      `charge (file://${HERE}/app/handlers/bill.ts:10:5)`,
      `${HERE}/app/main.ts:3:1`,
      'node:internal/process/task_queues:105:5',
    ),
    thrownAt(
      `charge (${HERE}/app/handlers/bill.ts:99:17)`,
      `async ${HERE}/app/main.ts:30:10`,
      'process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
    ),
    thrownAt(
      'async charge (/srv/releases/20261101/dist/handlers/bill.js:7:1)',
      'step (/srv/shop/node_modules/some-package/index.js:1:1)',
      `run (${HERE}/src/consumer/batch.ts:10:1)`,
      '/opt/other/app/main.mjs:2:2',
    ),
  ],
  'the same from another function': [
    thrownAt(`refund (${HERE}/app/handlers/bill.ts:10:5)`, `${HERE}/app/main.ts:3:1`),
  ],
  'the same from another file': [
    thrownAt(`charge (${HERE}/app/handlers/ship.ts:10:5)`, `${HERE}/app/main.ts:3:1`),
  ],
  'the same by another way': [
    thrownAt(`charge (${HERE}/app/handlers/bill.ts:10:5)`, `${HERE}/app/retry.ts:3:1`),
  ],
  'a bundle, whose chunks are named anew by every build': [
    thrownAt('charge (/app/dist/chunk-4KD82JQX.js:1:2000)'),
    thrownAt('charge (/app/dist/chunk-9XA01BBC.js:3:2)'),
  ],
  'a price that is no number, of any item': [
    refused('data.items[0].price: expected number', ['data.items[0].price', 'invalid_type:number']),
    refused(
      'whatever',
      ['data.items[41].price', 'invalid_type:number'],
      ['data.items[42].price', 'invalid_type:number'],
    ),
  ],
  'a price that is too small': [
    refused('data.items[0].price: too small', ['data.items[0].price', 'too_small']),
  ],
  'a price and a currency': [
    refused(
      'x',
      ['data.items[0].price', 'invalid_type:number'],
      ['data.currency', 'invalid_value'],
    ),
    refused(
      'y',
      ['data.currency', 'invalid_value'],
      ['data.items[3].price', 'invalid_type:number'],
    ),
  ],
  'a price in a map, whatever its key': [
    refused('x', ['data.prices.SKU-1.net', 'too_small']),
    refused('y', ['data.prices.SKU-4711-red.net', 'too_small']),
    refused('y', ['data.prices.0198c0de-0000-7000-8000-00000000002a.net', 'too_small']),
    refused('y', ['data.prices.V1StGXR8_Z5jdHi6B-myT.net', 'too_small']),
    refused('y', ['data.prices["ana@example.org"].net', 'too_small']),
    refused('y', ['data.prices["a name \\" of 2"].net', 'too_small']),
    refused('y', ['data.prices.7.net', 'too_small']),
    refused(
      'z',
      ['data.prices.2026-11-23.net', 'too_small'],
      ['data.prices.2026-11-24.net', 'too_small'],
    ),
    refused('z', [`data.prices.${'x'.repeat(64)}….net`, 'too_small']),
  ],
  'another part of a price in a map': [
    refused('x', ['data.prices.SKU-1.gross', 'too_small']),
    refused('y', ['data.prices.SKU-2.gross', 'too_small']),
  ],
  'a first line of an address': [refused('x', ['data.address_line_1', 'too_small'])],
  'a second line of an address': [refused('x', ['data.address_line_2', 'too_small'])],
  'a field that is written with a hyphen': [refused('x', ['data.content-type', 'too_small'])],
  'a field that is written with letters of elsewhere': [
    refused('x', ['data["größe"]', 'too_small']),
  ],
  'a map of what is too small': [
    refused('x', ['data.7', 'too_small']),
    refused('x', ['data["7 8"', 'too_small']),
  ],
  'complaints without a kind': [
    refused('x', ['data.age', 'must be at least 18, got <number>']),
    refused('y', ['data.age', 'must be at least 21, got <number>']),
  ],
  'an event that cannot be read': [
    failure(
      {
        class: 'MillraceError',
        code: 'E_EVENT_UNDECODABLE',
        message: "event 'A' cannot be read: it is blank",
      },
      { stage: 'decode', handler: '*' },
    ),
  ],
  'another event that cannot be read': [
    failure(
      {
        class: 'MillraceError',
        code: 'E_EVENT_UNDECODABLE',
        message: "event 'B' cannot be read: it is blank",
      },
      { stage: 'decode', handler: '*' },
    ),
  ],
  'an error that knows its own': [
    failure({ message: 'no stock of 12', fingerprint: 'out-of-stock' }),
    failure({ class: 'StockError', message: 'sold out', fingerprint: 'out-of-stock' }),
  ],
  'an error that knows another': [failure({ message: 'no stock of 12', fingerprint: 'recalled' })],
}
