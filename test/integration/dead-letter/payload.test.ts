import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { readPayloads } from '../../../src/dead-letter/payload.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, recordOf } from '../../support/dead-letters.ts'

test('what is too large to look into is told by its bytes, not by what the database made of them', async (t) => {
  const { pool } = await testDatabase(t)
  const argsJson = JSON.stringify({ note: 'x'.repeat(2_000_000) })
  const job = { id: '0198c0de-0000-7000-8000-0000000000ac', kind: 'mail', argsJson }
  await writeDeadLetters(pool, [deadLetter(1, { stage: 'job', record: null, job })])
  const [payload] = await readPayloads(pool, 'true', [])
  assert.deepEqual([payload?.tooLarge, payload?.size], [true, argsJson.length])
})

test('a page of payloads is small where headers are large', async (t) => {
  const { pool } = await testDatabase(t)
  const record = recordOf('{}', 'k', { note: 'x'.repeat(1_000_000) })
  await writeDeadLetters(
    pool,
    Array.from({ length: 10 }, (_, n) => deadLetter(n, { record })),
  )
  const page = await readPayloads(pool, 'true', [])
  assert.ok(page.length < 10, `${page.length} at once`)
})
