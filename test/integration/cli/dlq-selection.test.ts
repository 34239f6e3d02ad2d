import assert from 'node:assert/strict'
import { test } from 'node:test'
import { selectionOf } from '../../../src/cli/commands/dlq-selection.ts'
import { Arguments } from '../../../src/cli/options.ts'
import { createCore } from '../../../src/core/core.ts'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import type { Queryable } from '../../../src/postgres/queryable.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter } from '../../support/dead-letters.ts'

const said = (
  ids: readonly (number | bigint)[],
  options: Readonly<Record<string, string>> = {},
): Arguments => new Arguments(new Map(Object.entries(options)), ids.map(String), createCore().clock)

test('dead letters that are named by number are looked up together, and without what they carry', async (t) => {
  const { pool } = await testDatabase(t)
  await writeDeadLetters(pool, [
    ...Array.from({ length: 300 }, (_, n) => deadLetter(n)),
    deadLetter(300, { application: 'search' }),
    deadLetter(301, { application: null }),
  ])
  const read: unknown[][] = []
  const db: Queryable = {
    async query<Row extends Record<string, unknown>>(text: string, values?: unknown[]) {
      const result = await pool.query<Row>(text, values)
      read.push(result.rows)
      return result
    },
  }
  const ids = Array.from({ length: 300 }, (_, n) => BigInt(n + 1))
  assert.deepEqual(await selectionOf(said(ids), db), { application: 'billing', ids })
  assert.equal(read.length, 1)
  assert.deepEqual(
    read[0]?.flatMap((row) => Object.keys(row as object)).filter((name) => /value|args/.test(name)),
    [],
  )
  assert.deepEqual(await selectionOf(said([302]), db), { application: null, ids: [302n] })
  await assert.rejects(selectionOf(said([3, 301]), db), /3 and 301 are of .* billing and search/)
  await assert.rejects(selectionOf(said([3, 302]), db), /3 and 302 are of .* billing and none/)
  await assert.rejects(selectionOf(said([3, 999, 301]), db), { code: 'E_DLQ_NOT_FOUND' })
  await assert.rejects(selectionOf(said([]), db), /which dead letters\?/)
})

test('conditions are those of the lists, and some more', async (t) => {
  const { pool } = await testDatabase(t)
  const group = '00f1e2d3c4b5a697'
  const scope = { app: 'search', handler: 'index', stage: 'apply', topic: 'orders' }
  const since = '2026-11-01T00:00:00Z'
  assert.deepEqual(
    await selectionOf(said([], { ...scope, since, group, from: '7', partition: '3' }), pool),
    {
      application: 'search',
      handler: 'index',
      stage: 'apply',
      topic: 'orders',
      since: new Date(since),
      fingerprint: group,
      from: 7n,
      partition: 3,
    },
  )
  await assert.rejects(selectionOf(said([], { ...scope, stage: 'aply' }), pool), /Did you mean/)
})
