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
import type { Timeline } from '../../../src/trace/queries.ts'
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
  const topics = { numbers: { partitions: 1 } }
  const millrace = await running(t, { database: url, run: [app], topics })
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
    const help = await cli.run(['dlq', 'replay', '--help'])
    assert.match(help.stdout, /--dry-run +decode, validate, prepare and apply for real, roll back/)
    assert.doesNotMatch(help.stdout, /do nothing/)
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
    const failed = (await cli.run(['trace', id])).stdout
    assert.match(failed, new RegExp(`dead letter ${id}: discarded after \\d`))
    assert.match(
      failed,
      /dry run 1 by \S+ failed after \d.*refuses it\n.*replay 2 by \S+ failed after /,
    )
    assertHarmless(failed)
    const passed = await cli.run(['trace', String(Number(id) - 1), '--json'])
    const { nodes } = JSON.parse(passed.stdout) as Timeline
    const node = nodes.find(({ asked }) => asked)
    assert.deepEqual(
      node?.replays?.map(({ replay, dryRun, outcome, error }) => [replay, dryRun, outcome, error]),
      [
        ['1', true, 'passed', null],
        ['2', false, 'passed', null],
      ],
    )
    const [set, closed, replayed] = [node?.at, node?.endedAt, node?.replays?.[1]?.at].map(String)
    assert.ok(String(set) < String(closed) && String(closed) <= String(replayed))
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

describe('the limits of millrace dlq replay', () => {
  it('pause behind a canary that fails, stop after a number or a share, and choose by number and by group', async (t) => {
    const cli = await mended(t, 60, (n) => n === 3)
    const replay = async (...args: string[]): Promise<unknown[]> => {
      const command = ['dlq', 'replay', '--app', 'search', '--json', ...args]
      const { code, stdout, stderr } = await cli.run(command)
      assert.ok(code === 0 || code === 4, stderr)
      const { state, passed, failed, parked } = JSON.parse(stdout) as Record<string, unknown>
      return [code, state, passed, failed, parked]
    }
    const open = async (): Promise<Record<string, unknown>[]> => {
      const { stdout } = await cli.run(['dlq', 'list', '-n', '100', '--jsonl'])
      return lines(stdout).sort((a, b) => Number(a['id']) - Number(b['id']))
    }
    assert.deepEqual(await replay('--canary', '10'), [4, 'paused', '9', '1', '0'])
    const { stdout } = await cli.run(['replays', 'get', '1'])
    assert.match(stdout, /of the first 10, 1 failed/)
    assert.equal((await cli.run(['replays', 'abort', '1'])).code, 0)
    assert.deepEqual(await replay('--stop-after', '1'), [4, 'stopped', '0', '1', '0'])
    assert.deepEqual(await replay('--stop-after', '3%'), [4, 'stopped', '19', '1', '1'])

    const left = await open()
    assert.equal(left.length, 31)
    const from = String(left[9]?.['id'])
    assert.deepEqual(await replay('--from', from), [0, 'finished', '22', '0', '0'])
    const groups = await cli.run(['dlq', 'groups', '--jsonl'])
    const group = String(lines(groups.stdout)[0]?.['fingerprint'])
    const other = await cli.run(['dlq', 'replay', '--group', '0'.repeat(16), '--app', 'search'])
    assert.match(other.stderr, /nothing to replay/)
    assert.equal(await cli.done(), 50)
    assert.deepEqual(await replay('--group', group), [0, 'finished', '9', '0', '0'])
    assert.equal(await cli.done(), 59)
  })
})

describe('millrace replays create', () => {
  const SCOPE = ['--app', 'search', '--handler', 'COUNTED', '--topic', 'numbers']

  it('tries, hands a range of past records over again, and stops where it is told', async (t) => {
    const cli = await mended(t, 120, (n) => n === 70)
    const create = async (...args: string[]): Promise<unknown[]> => {
      const command = ['replays', 'create', ...SCOPE, '--json', ...args]
      const { code, stdout, stderr } = await cli.run(command)
      assert.ok(code === 0 || code === 4, stderr)
      const { state, total, passed, failed } = JSON.parse(stdout) as Record<string, unknown>
      return [code, state, total, passed, failed]
    }
    assert.deepEqual(await create('--dry-run'), [4, 'finished', '120', '119', '1'])
    assert.equal(await cli.done(), 0)
    const many = await cli.run(['replays', 'create', ...SCOPE])
    assert.equal(many.code, 7)
    assert.match(many.stderr, /hand 120 past records to COUNTED of search again/)
    const range = ['--partition', '0', '--from', '2', '--to', '5', '--reason', 'a new column']
    assert.deepEqual(await create(...range), [0, 'finished', '3', '3', '0'])
    assert.equal(await cli.done(), 3)
    const stopped = await create('--from', '60', '--stop-after', '1')
    assert.deepEqual(stopped, [4, 'stopped', '60', '10', '1'])
    const detached = await cli.run(['replays', 'create', ...SCOPE, '--from', '118', '--detach'])
    assert.match(detached.stdout, /replay 4 is ordered/)
    await eventually(async () => (await cli.done()) === 15)

    const { stdout } = await cli.run(['audit', 'list', '--action', 'records.replay', '--jsonl'])
    assert.deepEqual(
      lines(stdout).map(({ count, reason }) => [count, reason]),
      [
        [2, null],
        [60, null],
        [3, 'a new column'],
      ],
    )
    const list = await cli.run(['replays', 'list'])
    assert.match(list.stdout, /numbers +replay +stopped/)
    assertHarmless(list.stdout)
  })

  it('says what is missing, what is unknown, and that there is nothing', async (t) => {
    const cli = await mended(t, 1)
    for (const [at, name] of ['app', 'handler', 'topic'].entries()) {
      const { code, stderr } = await cli.run(['replays', 'create', ...SCOPE.slice(0, at * 2)])
      assert.equal(code, 2)
      assert.match(stderr, new RegExp(`which ${name}\\?`))
    }
    const none = await cli.run(['replays', 'create', ...SCOPE, '--from', '1', '--json'])
    assert.deepEqual([none.code, none.stdout.trim()], [0, 'null'])
    assert.match(none.stderr, /no records in that range/)
    const unknown = await cli.run(['replays', 'create', ...SCOPE.slice(0, 4), '--topic', 'nowhere'])
    assert.equal(unknown.code, 5)
    assert.match(unknown.stderr, /E_LOG_UNKNOWN_TOPIC/)
    const handler = ['replays', 'create', '--app', 'search', '--topic', 'numbers']
    const wrong = await cli.run([...handler, '--handler', 'nobody', '--json'])
    assert.equal(wrong.code, 4)
    assert.match(wrong.stdout, /has no handler 'nobody'/)
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

  it('warns of a value that is no JSON where the original is, and keeps it all the same', async (t) => {
    const cli = await mended(t, 1)
    const edit = async (value: string, ...more: string[]): Promise<string> => {
      const { code, stderr } = await cli.run(['dlq', 'edit', '1', '--value', value, ...more])
      assert.equal(code, 0, stderr)
      return stderr
    }
    const warning = /warning: this value is no JSON, and the original is/
    assert.match(await edit('{"n":1', '--dry-run'), warning)
    const kept = await edit('{"n":1', '--json')
    assert.match(kept, warning)
    assert.match(kept, /edit 1 of dead letter 1 is kept/)
    assert.doesNotMatch(await edit('{"n":1}'), warning)
    await cli.pool.query('update millrace.dead_letter set value = $1', [Buffer.from('n=0')])
    assert.doesNotMatch(await edit('n=1'), warning)
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
