import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'
import { assertHarmless, cliIn, type Cli } from './run-cli.ts'

const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
})

/** An application with `count` dead letters, and code that was mended since: only `bad` still fails. */
async function mended(
  t: TestContext,
  count: number,
  bad: (n: number) => boolean = () => false,
): Promise<Cli & { pool: pg.Pool; done: () => Promise<number> }> {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table done (n int)')
  let isMended = false
  const app = application('search', { floodBrake: false }).on(
    counted,
    inTransaction(async ({ data }, { tx }) => {
      if (!isMended || bad(data.n)) throw permanent('the \u001b[31mindex\u001b[0m refuses it')
      await tx.query('insert into done (n) values ($1)', [data.n])
    }),
  )
  const millrace = await running(t, { database: url, run: [app] })
  await millrace.publishMany(
    counted,
    Array.from({ length: count }, (_, n) => ({ n })),
  )
  await settled(millrace)
  isMended = true
  const cli = await cliIn(t, url)
  return {
    ...cli,
    pool,
    done: async () => {
      const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from done')
      return rows[0]?.n ?? 0
    },
  }
}

const lines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('millrace dlq replay', () => {
  it('tries, replays, and tells what became of each', async (t) => {
    const cli = await mended(t, 40, (n) => n === 7)
    const tried = await cli.run(['dlq', 'replay', '--app', 'search', '--dry-run', '--json'])
    assert.equal(tried.code, 4, tried.stderr)
    const rehearsal = JSON.parse(tried.stdout) as Record<string, unknown>
    assert.deepEqual(
      [rehearsal['state'], rehearsal['passed'], rehearsal['failed'], rehearsal['dryRun']],
      ['finished', '39', '1', true],
    )
    assert.equal(await cli.done(), 0)

    const done = await cli.run(['dlq', 'replay', '--app', 'search', '--reason', 'mended'])
    assert.equal(done.code, 4, done.stderr)
    const last = lines(done.stdout).at(-1)
    assert.deepEqual([last?.['passed'], last?.['failed']], ['39', '1'])
    assert.equal(await cli.done(), 39)
    assertHarmless(done.stdout)

    const list = await cli.run(['replays', 'list', '--jsonl'])
    assert.deepEqual(
      lines(list.stdout).map(({ state, dryRun, reason }) => [state, dryRun, reason]),
      [
        ['finished', false, 'mended'],
        ['finished', true, null],
      ],
    )
    const open = await cli.run(['dlq', 'list', '--jsonl'])
    const [letter, ...others] = lines(open.stdout)
    assert.equal(others.length, 0)
    const id = String(letter?.['id'])
    const { stdout } = await cli.run(['dlq', 'get', id])
    assert.match(stdout, /replay 1 .*failed \(dry run\)/)
    assert.match(stdout, /replay 2 .*failed:/)
    assertHarmless(stdout)

    const discarded = await cli.run(['dlq', 'discard', id, '--reason', 'seven is unlucky'])
    assert.match(discarded.stderr, /1 discarded/)
    const none = await cli.run(['dlq', 'replay', '--app', 'search'])
    assert.deepEqual([none.code, none.stdout], [0, ''])
    assert.match(none.stderr, /nothing to replay/)
  })

  it('wants a yes for many, and says what is missing', async (t) => {
    const cli = await mended(t, 120)
    const many = await cli.run(['dlq', 'replay', '--app', 'search'])
    assert.equal(many.code, 7)
    assert.match(many.stderr, /replay 120 dead letters/)
    const which = await cli.run(['dlq', 'replay'])
    assert.equal(which.code, 2)
    assert.match(which.stderr, /which dead letters\?/)
    const share = await cli.run(['dlq', 'replay', '--app', 'search', '--stop-after', 'many'])
    assert.equal(share.code, 2)
    const why = await cli.run(['dlq', 'discard', '--app', 'search'])
    assert.match(why.stderr, /why\? --reason/)
    assert.equal(await cli.done(), 0)
  })

  it('goes on after the command was ended, and is paused, resumed and aborted by others', async (t) => {
    const cli = await mended(t, 100)
    const child = cli.spawn(['dlq', 'replay', '--app', 'search', '--rate', '10'])
    await eventually(async () => (await cli.done()) > 0)
    child.kill('SIGINT')
    const paused = await cli.run(['replays', 'pause', '1', '--reason', 'lunch'])
    assert.match(paused.stderr, /replay 1 is paused/)
    const again = await cli.run(['replays', 'pause', '1'])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /E_REPLAY_STATE/)
    assert.match((await cli.run(['replays', 'resume', '1'])).stderr, /is running/)
    assert.match((await cli.run(['replays', 'abort', '1', '--json'])).stdout, /"aborted"/)
    assert.equal((await cli.run(['replays', 'get', '17'])).code, 5)
    const rest = await cli.run(['dlq', 'replay', '--app', 'search', '--yes', '--jsonl'])
    assert.equal(rest.code, 0, rest.stderr)
    assert.equal(await cli.done(), 100)
  })
})

describe('millrace dlq edit', () => {
  it('shows what changes, keeps the original, and lets a replay hand the edit over', async (t) => {
    const cli = await mended(t, 1, (n) => n === 0)
    const [letter] = lines((await cli.run(['dlq', 'list', '--jsonl'])).stdout)
    const id = String(letter?.['id'])
    const dry = await cli.run(['dlq', 'edit', id, '--value', '{"n":1}', '--dry-run'])
    assert.match(dry.stdout, /- {3}"n": 0/)
    assert.match(dry.stdout, /\+ {3}"n": 1/)
    assert.match(dry.stderr, /nothing was written/)
    const file = await cli.run(['dlq', 'edit', id, '--file', '-', '--reason', 'one'], {
      input: '{"n":1}',
    })
    assert.match(file.stderr, /edit 1 of dead letter/)
    const same = await cli.run(['dlq', 'edit', id, '--value', '{"n":1}'])
    assert.match(same.stderr, /its value already/)
    assert.equal((await cli.run(['dlq', 'replay', id])).code, 0)
    const { stdout } = await cli.run(['dlq', 'get', id, '--json'])
    const shown = JSON.parse(stdout) as { value: { text: string }; edits: unknown[]; state: string }
    assert.deepEqual(
      [shown.value.text, shown.edits.length, shown.state],
      ['{"n":0}', 1, 'replayed'],
    )
    assert.equal((await cli.run(['dlq', 'edit', id])).code, 2)
  })

  it('shows every change, also one that no number of JavaScript can hold or that is no line of JSON', async (t) => {
    const cli = await mended(t, 1, (n) => n === 0)
    const change = async (value: string | Buffer, other: string): Promise<string> => {
      await cli.pool.query('update millrace.dead_letter set value = $1', [Buffer.from(value)])
      const { stdout } = await cli.run(['dlq', 'edit', '1', '--value', other, '--dry-run'])
      return stdout
    }
    const lossless = await change('{"n":9007199254740993,"m":1}', '{"n":9007199254740992,"m":1}')
    assert.deepEqual(lossless.split('\n'), [
      '  {',
      '-   "n": 9007199254740993,',
      '+   "n": 9007199254740992,',
      '    "m": 1',
      '  }',
      '',
    ])
    const twice = await change('{"n":1,"n":2}', '{"n":2}')
    assert.equal(twice, '- {"n":1,"n":2}\n+ {"n":2}\n')
    const noText = Buffer.alloc(40, 0xff)
    noText[39] = 0
    await cli.pool.query('update millrace.dead_letter set value = $1', [noText])
    const file = await cli.run(['dlq', 'edit', '1', '--file', 'v', '--dry-run'])
    assert.equal(file.code, 5)
    await writeFile(join(cli.folder, 'v'), Buffer.alloc(40, 0xff))
    const { stdout } = await cli.run(['dlq', 'edit', '1', '--file', 'v', '--dry-run'])
    assert.equal(stdout, '- from byte 39: 00\n+ from byte 39: ff\n')
  })
})
