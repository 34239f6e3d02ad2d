import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { connectOperator } from '../../../src/app/operator.ts'
import { writeDeadLetters, type NewDeadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { editDeadLetter } from '../../../src/dead-letter/order.ts'
import { lockLetters, nextLetters, type LetterToReplay } from '../../../src/dead-letter/replayed.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, recordOf } from '../../support/dead-letters.ts'

const LARGE = 'x'.repeat(900_000)
/** The fifth of the large ones begins below it, the sixth does not. */
const BYTES = 4_194_304

interface Bed {
  readonly pool: pg.Pool
  /** Gives the n-th dead letter another value. */
  readonly edit: (id: number, value: string) => Promise<number>
  /** The chunk that begins with the n-th dead letter. */
  readonly chunk: (next: number) => Promise<LetterToReplay[]>
}

/** Twelve dead letters. */
async function bed(t: TestContext, more: (n: number) => Partial<NewDeadLetter>): Promise<Bed> {
  const { pool, url } = await testDatabase(t)
  const operator = await connectOperator({ database: url, user: 'ana@test' })
  cleanup(t, () => operator.close())
  await writeDeadLetters(
    pool,
    Array.from({ length: 12 }, (_, n) => deadLetter(n, more(n))),
  )
  return {
    pool,
    edit: (id, value) => editDeadLetter(operator, BigInt(id), { value: Buffer.from(value) }),
    chunk: (next) =>
      nextLetters(
        pool,
        { application: 'billing' },
        { id: 1n, next: BigInt(next), end: 13n },
        { records: 500, bytes: BYTES },
        new AbortController().signal,
      ),
  }
}

describe('a chunk of a replay', () => {
  it('is as small as large headers need it', async (t) => {
    const { chunk } = await bed(t, () => ({ record: recordOf('{}', 'k', { note: LARGE }) }))
    assert.deepEqual(
      (await chunk(1)).map(({ id, headers }) => [id, headers[0]?.[1]?.length]),
      [1n, 2n, 3n, 4n, 5n].map((id) => [id, LARGE.length]),
    )
  })

  it('counts what is handed over: the edit, not the value before it', async (t) => {
    const { chunk, edit } = await bed(t, (n) => ({ record: recordOf(n < 6 ? '{}' : LARGE) }))
    for (let id = 1; id <= 6; id += 1) await edit(id, LARGE)
    for (let id = 7; id <= 12; id += 1) await edit(id, '{}')
    assert.equal((await chunk(1)).length, 5)
    assert.deepEqual(
      (await chunk(7)).map(({ value }) => String(value)),
      Array.from({ length: 6 }, () => '{}'),
    )
  })

  it('has one dead letter that is larger than all of a chunk', async (t) => {
    const { chunk } = await bed(t, () => ({ record: recordOf('x'.repeat(BYTES + 1)) }))
    assert.deepEqual(
      (await chunk(3)).map(({ id }) => id),
      [3n],
    )
  })

  it('loads nothing of the records that discarded jobs came from', async (t) => {
    const { chunk } = await bed(t, (n) => ({
      stage: 'job',
      record: recordOf(LARGE, LARGE.slice(0, 1_000), { note: LARGE }),
      job: {
        id: `0198c0de-0000-7000-8000-0000000000${n + 10}`,
        kind: 'mail',
        argsJson: JSON.stringify({ n }),
      },
    }))
    const letters = await chunk(1)
    assert.equal(letters.length, 12)
    for (const { key, value, headers } of letters)
      assert.deepEqual([key, value, headers], [null, null, []])
  })

  it('is held by number, also right after a mass failure, of which the database has no statistics yet', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query('alter table millrace.dead_letter set (autovacuum_enabled = off)')
    await pool.query(
      `insert into millrace.dead_letter (application, handler, stage, error, attempts)
       select 'billing', 'bill', 'apply', '{}', 1 from generate_series(1, 20000)`,
    )
    const client = await pool.connect()
    try {
      await client.query('begin')
      const letters = Array.from({ length: 500 }, (_, n) => ({ id: BigInt(n + 101), revision: 0 }))
      assert.equal((await lockLetters(client, letters)).size, 500)
      const { rows } = await client.query<{ n: string }>(
        `select (pg_stat_get_xact_tuples_returned('millrace.dead_letter'::regclass)
           + (select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index
              where indrelid = 'millrace.dead_letter'::regclass))::text as n`,
      )
      assert.ok(Number(rows[0]?.n) <= 1_000, `${rows[0]?.n} rows and entries were read`)
    } finally {
      await client.query('rollback')
      client.release()
    }
  })
})
