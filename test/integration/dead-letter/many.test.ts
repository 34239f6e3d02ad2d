import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { seededRandom } from '../../../src/core/random.ts'
import {
  listDeadLetterGroups,
  listDeadLetters,
  parseCondition,
  sampleDeadLetters,
  searchDeadLetters,
} from '../../../src/dead-letter/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'

const MANY = 200_000
/** Above what a page takes here, by an order of magnitude, and below what all of them would. */
const STATEMENT_MS = 3_000
const MEMORY_BYTES = 256 * 1024 * 1024

/** So many dead letters in three groups, of 1.5 KB each; the bad one of each hundred is of another group. */
async function setup(t: TestContext): Promise<pg.Pool> {
  const { pool } = await testDatabase(t)
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, topic, topic_id, partition, "offset", generation,
       record_timestamp, key, value, headers, error, attempts, code_version, fingerprint, fingerprint_version)
     select 'app', 'bill', 'apply', 'orders', gen_random_uuid(), n % 6, n, 0, now(), convert_to('k' || n % 500, 'UTF8'),
       convert_to('{"n":' || n || ',"currency":"' || case when n % 100 = 0 then 'EUR' else 'GBP' end || '","pad":"'
         || repeat('x', 400) || '"}', 'UTF8'),
       '[["ce_source","web"]]', json_build_object('class', 'Error', 'message', 'order ' || n || ' is bad',
         'stack', repeat('at frame ', 100)), 1, '1.' || n % 3,
       case when n % 100 = 0 then 'aaaaaaaaaaaaaaaa' else 'bbbbbbbbbbbbbbbb' end, 1
     from generate_series(1, ${MANY}) n`,
  )
  await pool.query(`insert into millrace.dead_letter (handler, stage, error, attempts)
    values ('old', 'job', '{}', 1)`)
  await pool.query('analyze millrace.dead_letter')
  return pool
}

describe('two hundred thousand dead letters', () => {
  it('are grouped, sampled and searched in short statements and little memory', async (t) => {
    const pool = await setup(t)
    const client = await pool.connect()
    cleanup(t, async () => client.release())
    await client.query(`set statement_timeout = ${STATEMENT_MS}`)
    const before = process.memoryUsage().rss
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss - before)
    }, 20)
    cleanup(t, async () => clearInterval(watch))

    const { items, groups, letters } = await listDeadLetterGroups(client)
    assert.deepEqual([groups, letters], [3, MANY + 1])
    assert.deepEqual(
      items.map(({ fingerprint, count, keys }) => [fingerprint, count, keys]),
      [
        ['bbbbbbbbbbbbbbbb', MANY - MANY / 100, 495],
        ['aaaaaaaaaaaaaaaa', MANY / 100, 5],
        [null, 1, 0],
      ],
    )
    const random = seededRandom(1)
    const sample = await sampleDeadLetters(client, { fingerprint: 'bbbbbbbbbbbbbbbb', random })
    assert.equal(sample.count, MANY - MANY / 100)
    assert.ok(sample.looked > 900 && sample.looked <= 1_000, String(sample.looked))
    assert.deepEqual(
      sample.common.find(({ field }) => field === 'data.currency'),
      { field: 'data.currency', value: '"GBP"', records: sample.looked, share: 1 },
    )
    const where = parseCondition('data.n=77')
    const found = await searchDeadLetters(client, { where, look: 1_000_000 })
    assert.deepEqual(
      [found.items.map(({ offset }) => offset), found.looked, found.before],
      [[77n], MANY + 1, null],
    )
    const bounded = await searchDeadLetters(client, { where, look: 5_000 })
    assert.deepEqual([bounded.items.length, bounded.looked], [0, 5_000])
    const list = await listDeadLetters(client, { fingerprint: 'aaaaaaaaaaaaaaaa', limit: 1_000 })
    assert.equal(list.length, 1_000)
    assert.ok(peak < MEMORY_BYTES, `${Math.round(peak / 1e6)} MB more`)
  })
})
