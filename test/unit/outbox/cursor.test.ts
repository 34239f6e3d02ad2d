import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  formatCursor,
  judgeCursor,
  parseCursor,
  recordHash,
  type Evidence,
} from '../../../src/outbox/cursor.ts'
import type { OutboxRecord } from '../../../src/outbox/read.ts'

const cursor = {
  offset: 7n,
  hash: 'aa',
  database: 'server/5',
  appendedAt: '2026-11-23T00:00:00.000Z',
}

/** Everything as a relay leaves it that noted offset 5 and was killed after the log had taken 7. */
const whole: Evidence = {
  cursor,
  relayed: { offset: 5n, hash: '55' },
  database: 'server/5',
  recordHash: 'aa',
  nextOffset: 20n,
}

function halted(changed: Partial<Evidence>): string | undefined {
  const judgement = judgeCursor({ ...whole, ...changed })
  return 'halted' in judgement ? `${judgement.halted} → ${judgement.behind}` : undefined
}

describe('judging a cursor', () => {
  it('goes on behind the cursor, wherever the relay before was killed', () => {
    assert.deepEqual(judgeCursor(whole), { behind: 7n, hash: 'aa' })
    const noted = { relayed: { offset: 7n, hash: 'aa' }, recordHash: undefined }
    assert.deepEqual(judgeCursor({ ...whole, ...noted }), { behind: 7n, hash: 'aa' })
    const unnoted = { relayed: { offset: null, hash: '' } }
    assert.deepEqual(judgeCursor({ ...whole, ...unnoted }), { behind: 7n, hash: 'aa' })
  })

  it('begins at the beginning when nothing was ever relayed', () => {
    const evidence = { ...whole, cursor: null, relayed: { offset: null, hash: '' } }
    assert.deepEqual(judgeCursor(evidence), { behind: 0n, hash: '' })
  })

  it('stops when the database is behind the log', () => {
    assert.match(String(halted({ nextOffset: 7n, recordHash: undefined })), /restored → 5$/)
  })

  it('stops when the record at the cursor is another one, or gone', () => {
    assert.match(String(halted({ recordHash: 'bb' })), /another one here.* → 5$/)
    assert.match(String(halted({ recordHash: undefined })), /is not here.* → 5$/)
    const noted = { relayed: { offset: 7n, hash: 'bb' }, recordHash: 'aa' }
    assert.match(String(halted(noted)), /another one here.* → 7$/)
  })

  it('stops when the log has lost the cursor, or has an older one', () => {
    assert.match(String(halted({ cursor: null })), /no cursor.* → 5$/)
    assert.match(String(halted({ cursor: { ...cursor, offset: 4n } })), /is at 4.* → 5$/)
  })

  it('stops in a copy that is the same row for row, and would go on behind the cursor', () => {
    assert.match(String(halted({ database: 'server/6' })), /is a copy → 7$/)
  })

  it('takes what an operator had written for the beginning', () => {
    const beginning = { ...cursor, offset: 0n, hash: '' }
    const evidence = { ...whole, cursor: beginning, relayed: { offset: null, hash: '' } }
    assert.deepEqual(judgeCursor(evidence), { behind: 0n, hash: '' })
  })
})

describe('a cursor', () => {
  it('comes back from its text as it was', () => {
    assert.deepEqual(parseCursor(formatCursor(cursor)), cursor)
  })

  it('is refused when it is none', () => {
    assert.throws(() => parseCursor('{"v":2}'), /no cursor of a relay/)
    assert.throws(() => parseCursor('{"v":1,"offset":1}'), /no cursor of a relay/)
  })
})

describe('the hash of a record', () => {
  const record: OutboxRecord = {
    offset: 1n,
    topic: 'orders',
    partition: null,
    key: Buffer.from('k'),
    value: Buffer.from('v'),
    headers: [['ce_id', Buffer.from('1')]],
    headersJson: '[["ce_id","1"]]',
    timestamp: new Date(0),
    appendedMs: 0,
  }

  it('tells records apart that differ in anything but their times', () => {
    const variants: readonly Partial<OutboxRecord>[] = [
      {},
      { offset: 2n },
      { topic: 'others' },
      { partition: 0 },
      { key: null },
      { key: Buffer.alloc(0) },
      { value: null },
      { key: Buffer.from('kv'), value: Buffer.alloc(0) },
      { headersJson: '[["ce_id","2"]]' },
      { headersJson: null },
    ]
    const hashes = variants.map((variant) => recordHash({ ...record, ...variant }))
    assert.equal(new Set(hashes).size, variants.length)
    assert.equal(recordHash({ ...record, appendedMs: 1 }), hashes[0])
  })
})
