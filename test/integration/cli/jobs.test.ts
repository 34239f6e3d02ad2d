import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { assertHarmless, cliWithDatabase, type Cli } from './run-cli.ts'
import type { TestDatabase } from '../../support/database.ts'

interface Seeded {
  readonly state: string
  readonly kind?: string
  readonly queue?: string
  /** How long ago it was made, in minutes. */
  readonly minutes?: number
  readonly error?: string
  readonly args?: unknown
}

/** A UUID version 7 of a time so many minutes ago. */
function idOf(minutes: number, number: number): string {
  const hex = (Date.now() - minutes * 60_000).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${number.toString(16).padStart(12, '0')}`
}

async function seed({ pool }: TestDatabase, jobs: readonly Seeded[]): Promise<string[]> {
  const ids = jobs.map(({ minutes = 0 }, index) => idOf(minutes, index))
  for (const [index, id] of ids.entries()) {
    const { state, kind = 'mail.send', queue = 'mail', error, args = {} } = jobs[index] as Seeded
    const failure = error === undefined ? null : JSON.stringify({ class: 'Error', message: error })
    const isFinished = ['completed', 'cancelled', 'discarded'].includes(state)
    const columns =
      'id, kind, queue, state, args, last_error, priority, attempt, max_attempts, max_crashes'
    const values = '$1, $2, $3, $4, $5, $6, 5, 1, 20, 3'
    await pool.query(
      isFinished
        ? `insert into millrace.job_history (${columns}, crashes, scheduled_at, created_at, finished_at)
           values (${values}, 0, now(), now(), now())`
        : `insert into millrace.job (${columns}, token, process_id)
           values (${values}, ${state === 'executing' ? '$1, $1' : 'null, null'})`,
      [id, kind, queue, state, JSON.stringify(args), failure],
    )
  }
  return ids
}

async function statesOf({ pool }: TestDatabase): Promise<Record<string, string>> {
  const { rows } = await pool.query<{ id: string; state: string }>(
    'select id, state from millrace.job union all select id, state from millrace.job_history order by id',
  )
  return Object.fromEntries(rows.map(({ id, state }) => [id, state]))
}

async function setup(
  t: TestContext,
  jobs: readonly Seeded[],
): Promise<{ cli: Cli & TestDatabase; ids: string[] }> {
  const cli = await cliWithDatabase(t)
  return { cli, ids: await seed(cli, jobs) }
}

describe('millrace jobs list', () => {
  it('teaches where jobs come from when there are none', async (t) => {
    const { cli } = await setup(t, [])
    const text = await cli.run(['jobs', 'list'])
    assert.deepEqual([text.code, text.stdout], [0, ''])
    assert.match(text.stderr, /^no jobs\. .*toJob/)
    const json = await cli.run(['jobs', 'list', '--json'])
    assert.deepEqual(JSON.parse(json.stdout), { items: [], more: null })
  })

  it('is one line per job, whatever kinds and errors hold', async (t) => {
    const { cli } = await setup(t, [
      { state: 'retryable', error: 'a\r\n\u001b[31mb\u202ec', kind: 'mail\u001b]0;x\u0007' },
      { state: 'available' },
    ])
    const { stdout } = await cli.run(['jobs', 'list'])
    const lines = stdout.trimEnd().split('\n')
    assert.equal(lines.length, 3)
    assert.match(stdout, /mail\\x1b\]0;x\\x07.*a\\r\\n\\x1b\[31mb\\u202ec/)
    assertHarmless(stdout)
  })

  it('gives pages, columns and a line per job as JSON', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'available', minutes: 3 },
      { state: 'discarded', minutes: 2 },
      { state: 'scheduled', minutes: 1 },
    ])
    const first = await cli.run(['jobs', 'list', '--limit', '2', '--columns', 'id,state'])
    assert.deepEqual(
      first.stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ +/)),
      [
        ['id', 'state'],
        [ids[2], 'scheduled'],
        [ids[1], 'discarded'],
      ],
    )
    assert.equal(first.stderr, `more: --before ${ids[1]}\n`)
    const next = await cli.run(['jobs', 'list', '--jsonl', '--before', ids[1] ?? ''])
    const [job] = next.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.equal(job?.['id'], ids[0])
    assert.equal(job?.['state'], 'available')
    assert.equal(next.stderr, '')
  })

  it('narrows by state, kind, queue and time', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'discarded', kind: 'a', minutes: 100 },
      { state: 'discarded', kind: 'b', minutes: 50 },
      { state: 'available', kind: 'b', queue: 'other', minutes: 10 },
    ])
    const list = async (...args: string[]): Promise<unknown[]> => {
      const { stdout } = await cli.run(['jobs', 'list', '--json', ...args])
      return (JSON.parse(stdout) as { items: { id: string }[] }).items.map(({ id }) => id)
    }
    assert.deepEqual(await list('--state', 'discarded'), [ids[1], ids[0]])
    assert.deepEqual(await list('--kind', 'b'), [ids[2], ids[1]])
    assert.deepEqual(await list('--queue', 'other'), [ids[2]])
    assert.deepEqual(await list('--since', '1h'), [ids[2], ids[1]])
    assert.deepEqual(await list('--until', '1h'), [ids[0]])
    assert.deepEqual(await list('--since', '1h', '--until', '30m'), [ids[1]])
  })
})

describe('millrace jobs get', () => {
  it('shows a job with its args and error, as text and as JSON', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'discarded', error: 'no\u001b[2J such address', args: { to: 'x\u202ey' } },
    ])
    const text = await cli.run(['jobs', 'get', ids[0] ?? ''])
    assert.equal(text.code, 0)
    assert.match(text.stdout, /^state +discarded$/m)
    assert.match(text.stdout, /^error +Error: no\\x1b\[2J such address$/m)
    assert.match(text.stdout, /^args +\{"to":"x\\u202ey"\}$/m)
    const json = await cli.run(['jobs', 'get', ids[0] ?? '', '--json'])
    const job = JSON.parse(json.stdout) as Record<string, unknown>
    assert.deepEqual(job['args'], { to: 'x\u202ey' })
    assert.doesNotMatch(json.stdout, /\u202e/)
  })

  it('exits 5 when there is none', async (t) => {
    const { cli } = await setup(t, [])
    const { code, stderr } = await cli.run(['jobs', 'get', idOf(0, 1)])
    assert.equal(code, 5)
    assert.match(stderr, /E_JOB_NOT_FOUND[^]*next millrace jobs list/)
  })
})

describe('millrace jobs retry', () => {
  it('makes a discarded job available, and says where and as whom it does so', async (t) => {
    const { cli, ids } = await setup(t, [{ state: 'discarded' }])
    const { code, stdout, stderr } = await cli.run(['jobs', 'retry', ids[0] ?? '', '--json'])
    assert.equal(code, 0)
    assert.deepEqual(JSON.parse(stdout), { dryRun: false, changed: ids, asked: [], refused: [] })
    assert.match(stderr, /^profile default · db test_/)
    assert.deepEqual(await statesOf(cli), { [ids[0] ?? '']: 'available' })
  })

  it('changes nothing in a dry run, but says what it would do', async (t) => {
    const { cli, ids } = await setup(t, [{ state: 'discarded' }, { state: 'completed' }])
    const before = await statesOf(cli)
    const { code, stdout } = await cli.run(['jobs', 'retry', ...ids, '--dry-run', '--json'])
    assert.equal(code, 4)
    assert.deepEqual(JSON.parse(stdout), {
      dryRun: true,
      changed: [ids[0]],
      asked: [],
      refused: [{ id: ids[1], state: 'completed' }],
    })
    assert.deepEqual(await statesOf(cli), before)
  })

  it('exits 4 when some could not be retried, 1 when none could, 5 when there are none', async (t) => {
    const { cli, ids } = await setup(t, [{ state: 'discarded' }, { state: 'completed' }])
    const missing = idOf(1, 77)
    assert.equal((await cli.run(['jobs', 'retry', ...ids])).code, 4)
    const none = await cli.run(['jobs', 'retry', ids[1] ?? ''])
    assert.equal(none.code, 1)
    assert.match(none.stdout, /refused: completed/)
    const unknown = await cli.run(['jobs', 'retry', missing])
    assert.equal(unknown.code, 5)
    assert.match(unknown.stderr, /E_CLI_NOT_FOUND/)
  })

  it('takes the discarded jobs that fit when conditions are given', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'discarded', kind: 'a' },
      { state: 'discarded', kind: 'b' },
      { state: 'cancelled', kind: 'a' },
    ])
    const { code } = await cli.run(['jobs', 'retry', '--kind', 'a'])
    assert.equal(code, 0)
    assert.deepEqual(Object.values(await statesOf(cli)).toSorted(), [
      'available',
      'cancelled',
      'discarded',
    ])
    assert.equal((await statesOf(cli))[ids[0] ?? ''], 'available')
    const nothing = await cli.run(['jobs', 'retry', '--kind', 'nope'])
    assert.equal(nothing.code, 0)
    assert.match(nothing.stderr, /no jobs that fit/)
  })

  it('wants a yes for more than 100: exit 7 without a terminal', async (t) => {
    const { cli } = await setup(
      t,
      Array.from({ length: 101 }, () => ({ state: 'discarded' })),
    )
    const refused = await cli.run(['jobs', 'retry', '--kind', 'mail.send'])
    assert.equal(refused.code, 7)
    assert.match(refused.stderr, /this would retry 101 jobs[^]*E_CLI_NOT_CONFIRMED[^]*--yes/)
    assert.deepEqual([...new Set(Object.values(await statesOf(cli)))], ['discarded'])
    const done = await cli.run(['jobs', 'retry', '--kind', 'mail.send', '--yes', '--json'])
    assert.equal(done.code, 0)
    assert.equal((JSON.parse(done.stdout) as { changed: string[] }).changed.length, 101)
    assert.deepEqual([...new Set(Object.values(await statesOf(cli)))], ['available'])
  })
})

describe('an order about jobs', () => {
  it('is written down with who, what and why, and only when it changes something', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'discarded', kind: 'a' },
      { state: 'available', kind: 'b' },
      { state: 'executing', kind: 'b' },
      { state: 'completed', kind: 'c' },
    ])
    const who = ['--user', 'ana', '--reason', 'deployed 1.4.2']
    await cli.run(['jobs', 'retry', ids[0] ?? '', '--dry-run', ...who])
    await cli.run(['jobs', 'retry', ids[3] ?? '', ...who])
    await cli.run(['jobs', 'retry', ids[0] ?? '', ...who])
    await cli.run(['jobs', 'cancel', '--kind', 'b', '--user', 'bob'])
    const { rows } = await cli.pool.query<{ filter: object }>(
      'select operator, action, filter, count::int as count, reason from millrace.operator_action order by id',
    )
    assert.deepEqual(rows.slice(0, 1), [
      {
        operator: 'ana',
        action: 'jobs.retry',
        filter: { ids: [ids[0]] },
        count: 1,
        reason: 'deployed 1.4.2',
      },
    ])
    // Jobs that wait and jobs that are executed are looked for one state after the other.
    assert.deepEqual(
      rows.slice(1).map((row) => ({ ...row, filter: { ...row.filter } })),
      Array.from({ length: 2 }, () => ({
        operator: 'bob',
        action: 'jobs.cancel',
        filter: { kind: 'b' },
        count: 1,
        reason: null,
      })),
    )
  })
})

describe('millrace jobs cancel', () => {
  it('cancels what waits and asks what is executed', async (t) => {
    const { cli, ids } = await setup(t, [
      { state: 'available' },
      { state: 'executing' },
      { state: 'completed' },
    ])
    const { code, stdout } = await cli.run(['jobs', 'cancel', '--queue', 'mail', '--json'])
    assert.equal(code, 0)
    assert.deepEqual(JSON.parse(stdout), {
      dryRun: false,
      changed: [ids[0]],
      asked: [ids[1]],
      refused: [],
    })
    assert.deepEqual(await statesOf(cli), {
      [ids[0] ?? '']: 'cancelled',
      [ids[1] ?? '']: 'executing',
      [ids[2] ?? '']: 'completed',
    })
  })
})
