import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { toJob } from '../../src/bridge/to-job.ts'
import { application } from '../../src/consumer/application.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { seededRandom } from '../../src/core/random.ts'
import { getDeadLetter, listDeadLetters } from '../../src/dead-letter/queries.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'
import { foreign } from '../../src/events/foreign.ts'
import type { Header } from '../../src/events/raw-record.ts'
import { job } from '../../src/jobs/job.ts'
import { assertHarmless, cliIn } from '../integration/cli/run-cli.ts'
import { testDatabase } from '../support/database.ts'
import { ODD_VALUES } from '../support/dead-letters.ts'
import { running, settled } from '../support/millrace.ts'

/** Bytes of those who write no JSON, and what is not meant for eyes. */
const ODD: Readonly<Record<string, string | Uint8Array | null>> = {
  ...ODD_VALUES,
  'an unknown schema of a registry': Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x41]),
  'a schema id that is cut off': Buffer.from([0, 0, 0]),
  'a number of 2^63 in seven-bit groups': Buffer.from([...Array(9).fill(0x80), 0x01, 0xff]),
  'the magic byte of an old format': Buffer.from([0x01, ...Array(14).fill(0)]),
  'ten megabytes of small numbers': `[${'1,'.repeat(5_000_000)}1]`,
  'markup and links': '{"currency":"<script>alert(1)</script>\\" onerror=\\"x","u":"javascript:1"}',
}
const HOSTILE = 'k\u001b[2J\u202e\r\n\u0007<b>'
const ODD_HEADERS: readonly Header[] = [
  ['twice', Buffer.from('a')],
  ['twice', Buffer.from('b')],
  [HOSTILE, Buffer.from([0xff, 0x1b, 0x00])],
  ['none', null],
]

const bytesOf = (value: string | Uint8Array | null): Buffer | null =>
  value === null ? null : Buffer.from(value)

describe('what nobody expected', () => {
  it('is kept, shown harmlessly, and replayed, by a mapped topic whose handler refuses all of it', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table done (value bytea)')
    const anything = foreign('odd', { schema: z.unknown() })
    let isFixed = false
    const books = application('books', { floodBrake: false }).on(
      anything,
      inTransaction(async (_, { tx, record }) => {
        if (!isFixed) throw permanent(`cannot book ${HOSTILE}`)
        await tx.query('insert into done values ($1)', [record.value])
      }),
    )
    const millrace = await running(t, {
      database: url,
      run: [books],
      topics: { odd: { partitions: 1 } },
    })
    const values = Object.values(ODD).map(bytesOf)
    await millrace.log.append(
      values.map((value, n) => ({
        topic: 'odd',
        key: Buffer.from(`${HOSTILE}${n}`),
        value,
        headers: ODD_HEADERS,
      })),
    )
    await settled(millrace)
    // A tombstone is nobody's here, so it is counted and passed.
    const kept = values.filter((value) => value !== null)
    const letters = await listDeadLetters(pool as never, { limit: 1_000 })
    assert.equal(letters.length, kept.length)
    const before = new Map<bigint, Buffer>()
    for (const { id } of letters) {
      const letter = await getDeadLetter(pool as never, id)
      const own = values[Number(letter.offset)] as Buffer
      assert.ok(
        Buffer.from(letter.value ?? []).equals(own),
        Object.keys(ODD)[Number(letter.offset)],
      )
      assert.deepEqual(
        letter.headers.map(([name, value]) => [name, value === null ? null : Buffer.from(value)]),
        ODD_HEADERS,
      )
      before.set(id, own)
    }

    const cli = await cliIn(t, url)
    const groups = JSON.parse((await cli.run(['dlq', 'groups', '--json'])).stdout) as {
      readonly items: readonly { readonly fingerprint: string }[]
    }
    const letter = letters.map(({ id }) => ['dlq', 'get', String(id)])
    const views = [
      ['dlq', 'list'],
      ['dlq', 'groups'],
      ['dlq', 'search', '--where', 'data.currency=GBP'],
      ...groups.items.map(({ fingerprint }) => ['dlq', 'sample', '--group', fingerprint]),
      ['trace', 'odd/0/0'],
    ]
    const asJson = [...views, ...letter.slice(0, 3)].map((args) => [...args, '--json'])
    const show = async (args: readonly string[]): Promise<void> => {
      const { code, stdout, stderr } = await cli.run(args)
      assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
      assertHarmless(stdout + stderr)
      if (args.includes('--json')) JSON.parse(stdout)
    }
    const waiting = [...views, ...letter, ...asJson]
    while (waiting.length > 0) await Promise.all(waiting.splice(0, 4).map(show))

    isFixed = true
    const dry = await cli.run(['dlq', 'replay', '--app', 'books', '--dry-run', '--json'])
    // Some would fail again: those that are no JSON.
    assert.equal(dry.code, 4, dry.stderr)
    assertHarmless(dry.stdout + dry.stderr)
    assert.equal((await pool.query('select from done')).rowCount, 0)
    const replayed = await cli.run(['dlq', 'replay', '--app', 'books', '--yes'])
    assertHarmless(replayed.stdout + replayed.stderr)

    const { rows } = await pool.query<{ value: Buffer }>('select value from done')
    const left = await listDeadLetters(pool as never, { state: 'open', limit: 1_000 })
    assert.equal(rows.length + left.length, kept.length)
    for (const { id } of left) {
      const letter = await getDeadLetter(pool as never, id)
      assert.ok(Buffer.from(letter.value ?? []).equals(before.get(id) as Buffer))
      assert.equal(letter.stage === 'decode' || letter.stage === 'validate', true)
      before.delete(id)
    }
    const done = [...before].filter(([id]) => !left.some((letter) => letter.id === id))
    assert.deepEqual(
      rows.map(({ value }) => value.toString('hex')).toSorted(),
      done.map(([, value]) => value.toString('hex')).toSorted(),
    )
    assert.ok(rows.length > 0 && left.length > 0)
    assert.equal(({} as { currency?: string }).currency, undefined)
  })

  it('is no matter when it passes: what fails one time in three is tried again, and never set aside', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table done (n int, by text)')
    const random = seededRandom(20_261_123)
    let failures = 0
    const sometimes = (): void => {
      if (random.next() >= 1 / 3) return
      failures += 1
      throw new Error('not this time')
    }
    const counted = event('COUNTED', {
      source: 'TEST',
      topic: 'numbers',
      schema: z.object({ n: z.int() }),
    })
    const count = job('count', {
      args: z.object({ n: z.int() }),
      maxAttempts: 30,
      backoff: () => 20,
      async handle({ n }, { transaction }) {
        sometimes()
        await transaction((tx) => tx.query("insert into done values ($1, 'job')", [n]))
      },
    })
    const app = application('app', { floodBrake: false, maxAttempts: 30 })
      .on(
        counted,
        inTransaction(async ({ data }, { tx }) => {
          sometimes()
          await tx.query("insert into done values ($1, 'record')", [data.n])
        }),
      )
      .on(
        counted,
        toJob(count, ({ data }) => data),
      )
    const millrace = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 2 } },
    })
    const numbers = Array.from({ length: 24 }, (_, n) => ({ n }))
    await millrace.publishMany(counted, numbers)
    await settled(millrace)
    for (const by of ['record', 'job']) {
      const { rows } = await pool.query<{ n: number }>(
        'select n from done where by = $1 order by n',
        [by],
      )
      assert.deepEqual(rows, numbers, by)
    }
    assert.deepEqual(await listDeadLetters(pool as never), [])
    assert.ok(failures > 8)
  })
})
