import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { byteaArray, textArray, uuidArray } from '../../../src/postgres/array.ts'
import { testDatabase } from '../../support/database.ts'

test('arrays of UUIDs, texts and bytes arrive as they were', async (t) => {
  const { pool } = await testDatabase(t)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uuid()),
      fc.array(fc.option(fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')))),
      fc.array(fc.option(fc.uint8Array())),
      async (uuids, texts, bytes) => {
        const { rows } = await pool.query<{ uuids: string; texts: string[]; bytes: Buffer[] }>(
          'select $1::uuid[]::text as uuids, $2::text[] as texts, $3::bytea[] as bytes',
          [uuidArray(uuids), textArray(texts), byteaArray(bytes)],
        )
        assert.equal(rows[0]?.uuids, `{${uuids.join(',')}}`)
        assert.deepEqual(rows[0]?.texts, texts)
        assert.deepEqual(
          rows[0]?.bytes.map((one) => one && new Uint8Array(one)),
          bytes,
        )
      },
    ),
  )
})
