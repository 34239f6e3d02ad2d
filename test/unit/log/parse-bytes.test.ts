import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseBytes } from '../../../src/log/table-read.ts'

test('bytes are read in both forms that a server writes', () => {
  assert.deepEqual(parseBytes(String.raw`\x00ff5c41`), Buffer.from([0x00, 0xff, 0x5c, 0x41]))
  assert.deepEqual(parseBytes(String.raw`\000\377\\A`), Buffer.from([0x00, 0xff, 0x5c, 0x41]))
  assert.deepEqual(parseBytes(String.raw`\x`), Buffer.alloc(0))
  assert.deepEqual(parseBytes(''), Buffer.alloc(0))
})
