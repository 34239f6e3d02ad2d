import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { loseTail, recreateTopic } from '../../support/log-damage.ts'
import { counted, counting, numbers, operated, type Operated } from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'
import { assertHarmless, cliIn, type Cli, type CliResult } from './run-cli.ts'

type Setup = Operated & Pick<Cli, 'run'>

/** The application `app` has handled five records of `numbers`, and is not running. */
async function setup(t: TestContext, partitions = 1): Promise<Setup> {
  const all = await operated(t, partitions)
  const { run } = await cliIn(t, all.url)
  return { ...all, run }
}

const json = ({ stdout }: CliResult): Record<string, unknown> =>
  JSON.parse(stdout) as Record<string, unknown>

const actions = async ({ pool }: Setup): Promise<unknown[]> =>
  (
    await pool.query(
      'select operator, action, count::int as count, reason from millrace.operator_action order by id',
    )
  ).rows

describe('millrace consumers', () => {
  it('answers what is wrong with its options with exit 2, and unknown names with exit 5', async (t) => {
    const { run } = await setup(t)
    const mistakes: readonly (readonly [readonly string[], number, RegExp])[] = [
      [['pause', '--reason', 'x'], 2, /which application\? --app/],
      [['pause', '--app', 'app'], 2, /why\? --reason/],
      [['pause', '--app', 'app', '--reason', 'x', '--for', 'ever'], 2, /--for: expected a time/],
      [['resume', '--app', 'app', '--partition', '0'], 2, /--partition needs --topic/],
      [
        ['resume', '--app', 'app', '--accept-failures'],
        2,
        /why\? --accept-failures needs --reason/,
      ],
      [['resume', '--app', 'app', '--for', '2h'], 2, /it needs --accept-failures/],
      [
        ['resume', '--app', 'app', '--accept-failures', '--for', 'ever', '--reason', 'x'],
        2,
        /--for: expected a time/,
      ],
      [
        ['resume', '--app', 'app', '--accept-failures', '--reason', 'x'],
        1,
        /the flood brake has stopped nothing there[^]*E_CONSUMER_STATE/,
      ],
      [['seek', '--app', 'app', '--to', 'end'], 2, /which topic\?/],
      [['seek', '--app', 'app', '--topic', 'numbers'], 2, /where to\?/],
      [['seek', '--app', 'app', '--topic', 'numbers', '--to', 'start'], 2, /--to: expected/],
      [['resolve', '--app', 'app'], 2, /rewind\|accept\|adopt is missing/],
      [['resolve', 'skip', '--app', 'app'], 2, /expected rewind, accept, adopt; got 'skip'/],
      [['resolve', 'adopt', '--app', 'app'], 2, /from where in the new topic\?/],
      [['resolve', 'accept', '--app', 'app', '--from', 'end'], 2, /did you mean --to\?/],
      [['pause', '--app', 'ap', '--reason', 'x'], 5, /no application 'ap'\. There is: app/],
      [['list', '--app', 'ap'], 5, /E_CONSUMER_NOT_FOUND[^]*next millrace consumers list/],
      [['get', '--app', 'app', '--topic', 'number'], 5, /app reads no topic 'number'/],
      [['seek', '--app', 'ap', '--topic', 'numbers', '--to', 'end'], 5, /no application 'ap'/],
      [['resolve', 'accept', '--app', 'ap'], 5, /no application 'ap'/],
      [['resolve', 'accept', '--app', 'app'], 1, /E_CONSUMER_STATE|nothing of app is stopped/],
    ]
    await Promise.all(
      mistakes.map(async ([args, code, message]) => {
        const result = await run(['consumers', ...args])
        assert.equal(result.code, code, args.join(' '))
        assert.match(result.stderr, message)
      }),
    )
  })
})

describe('millrace consumers pause', () => {
  it('holds back, is seen by everybody, and is taken back by resume', async (t) => {
    const all = await setup(t)
    const { run } = all
    const dry = await run(['consumers', 'pause', '--app', 'app', '--reason', 'x', '--dry-run'])
    assert.deepEqual([dry.code, dry.stdout], [0, 'would pause app (1 partition)\n'])
    assert.deepEqual(await actions(all), [])
    const paused = await run(
      ['consumers', 'pause', '--app', 'app', '--for', '2h', '--reason', 'a\u001b[2Jb', '--json'],
      { env: { MILLRACE_USER: 'ana' } },
    )
    assert.equal(paused.code, 0)
    const { until, ...rest } = json(paused) as { until: string }
    assert.deepEqual(rest, { dryRun: false, application: 'app', partitions: 1 })
    assert.ok(new Date(until).getTime() > Date.now() + 7_000_000)
    assert.match(paused.stderr, /^profile default .* user ana\n/)
    const list = await run(['consumers', 'list', '--columns', 'state,reason,do'])
    assert.match(
      list.stdout,
      /^paused +all of it paused by ana until \S+: a\\x1b\[2Jb +millrace consumers resume --app app$/m,
    )
    assertHarmless(list.stdout)
    const get = await run(['consumers', 'get', '--app', 'app'])
    assert.match(get.stdout, /^do +millrace consumers resume --app app$/m)
    const would = await run(['consumers', 'resume', '--app', 'app', '--dry-run'])
    assert.match(would.stdout, /^would resume app, paused by ana: /)
    const resumed = await run(['consumers', 'resume', '--app', 'app', '--user', 'bob', '--json'])
    assert.equal((json(resumed)['resumed'] as unknown[]).length, 1)
    const again = await run(['consumers', 'resume', '--app', 'app'])
    assert.deepEqual([again.code, again.stdout], [0, ''])
    assert.match(again.stderr, /nothing was paused or stopped/)
    assert.deepEqual(await actions(all), [
      { operator: 'ana', action: 'consumers.pause', count: 1, reason: 'a\u001b[2Jb' },
      { operator: 'bob', action: 'consumers.resume', count: 1, reason: null },
    ])
  })
})

describe('millrace consumers seek', () => {
  it('says what would be read again, wants a yes for more than 100, and moves a running application', async (t) => {
    const all = await setup(t)
    const { run, start, caughtUp, done } = all
    const { millrace } = await start()
    await millrace.publishMany(counted, numbers(5, 205))
    await caughtUp()
    const args = ['consumers', 'seek', '--app', 'app', '--topic', 'numbers', '--to', '100']
    const dry = await run([...args, '--dry-run'])
    assert.equal(dry.code, 0)
    assert.equal(
      dry.stdout,
      'topic    partition  position   to  re-read  skipped\nnumbers          0       205  100      105        0\n',
    )
    assert.match(dry.stderr, /would be moved 1: 105 to read again, 0 skipped/)
    const refused = await run(args)
    assert.equal(refused.code, 7)
    assert.match(
      refused.stderr,
      /this would read 105 records again and skip 0[^]*E_CLI_NOT_CONFIRMED/,
    )
    assert.deepEqual(await actions(all), [])
    const moved = await run([...args, '--yes', '--json', '--reason', 'fixed'])
    assert.equal(moved.code, 0)
    const [move] = json(moved)['moves'] as { reread: string; to: string }[]
    assert.deepEqual([move?.to, move?.reread], ['100', '105'])
    await eventually(async () => (await done()).length === 310)
    await caughtUp()
    const again = (await done()).filter(({ generation }) => generation === 1).map(({ n }) => n)
    assert.deepEqual(
      again,
      numbers(100, 205).map(({ n }) => n),
    )
    assert.deepEqual(
      (await actions(all)).map((action) => ({ ...(action as object), operator: '' })),
      [{ operator: '', action: 'consumers.seek', count: 1, reason: 'fixed' }],
    )
  })

  it('exits 4 when a partition was refused, and 1 when all were', async (t) => {
    const all = await setup(t, 2)
    const { millrace } = await all.start()
    await eventually(async () => {
      // Records without a key go to a partition by chance.
      await millrace.publishMany(counted, numbers(5, 10))
      const positions = await listConsumers(all.pool, all.log)
      return positions.every(({ position }) => position > 0n)
    })
    await millrace.stop()
    await loseTail(all.pool, all.topicId, 1, 0n)
    const seek = ['consumers', 'seek', '--app', 'app', '--topic', 'numbers', '--to', 'beginning']
    const some = await all.run([...seek, '--json'])
    assert.equal(some.code, 4)
    assert.equal((json(some)['refused'] as unknown[]).length, 1)
    assert.match(some.stderr, /^refused numbers\/1: position \d+ lies outside of the log/m)
    const none = await all.run([...seek, '--partition', '1'])
    assert.equal(none.code, 1)
    assert.match(none.stderr, /no position can be moved\. numbers\/1: [^]*code E_CONSUMER_STATE/)
  })
})

describe('millrace consumers resolve', () => {
  it('is named by list, get and doctor for what is halted, and sets it going', async (t) => {
    const all = await setup(t)
    const { run, start, gap, caughtUp, done } = all
    await recreateTopic(all.log, 'numbers')
    const { millrace } = await start()
    await millrace.publishMany(counted, numbers(20, 23))
    await gap()
    const command = 'millrace consumers resolve adopt --app app --topic numbers --from beginning'
    const list = await run(['consumers', 'list'])
    assert.match(
      list.stderr,
      new RegExp(`^app numbers/0 is halted\\. Try: ${command} --dry-run$`, 'm'),
    )
    const get = await run(['consumers', 'get', '--app', 'app', '--json'])
    const { positions, gaps } = json(get) as {
      positions: { state: string; code: string; next: string }[]
      gaps: { code: string; from: string; decided: unknown }[]
    }
    assert.deepEqual(
      positions.map(({ state, code, next }) => [state, code, next]),
      [['halted', 'topic-recreated', `${command} --dry-run`]],
    )
    assert.deepEqual(
      gaps.map(({ code, from, decided }) => [code, from, decided]),
      [['topic-recreated', '5', null]],
    )
    const text = await run(['consumers', 'get', '--app', 'app'])
    assert.match(text.stdout, /^missing +from offset 5 on$/m)
    assert.match((await run(['doctor'])).stdout, /halted partitions +1: app numbers\/0/)
    const dry = await run([...command.split(' ').slice(1), '--dry-run', '--json'])
    assert.equal(dry.code, 0)
    const { steps } = json(dry) as { steps: { position: string; to: string }[] }
    assert.deepEqual(
      steps.map(({ position, to }) => [position, to]),
      [
        ['5', null],
        [null, '0'],
      ],
    )
    assert.equal((await done()).length, 5)
    const resolved = await run([...command.split(' ').slice(1), '--reason', 'restored'])
    assert.equal(resolved.code, 0)
    assert.match(resolved.stderr, /resolved 1, refused 0/)
    await caughtUp()
    assert.equal((await done()).length, 8)
    const after = await run(['consumers', 'get', '--app', 'app'])
    assert.match(after.stdout, /^resolved +topic-recreated: adopt by \S+, .*Z: restored$/m)
  })

  it('wants a yes where nobody knows how many records are given up', async (t) => {
    const all = await setup(t)
    await loseTail(all.pool, all.topicId, 0, 2n)
    const { millrace } = await all.start({ app: counting() })
    await all.gap()
    await millrace.publishMany(counted, numbers(12, 14))
    const accept = ['consumers', 'resolve', 'accept', '--app', 'app']
    const refused = await all.run(accept)
    assert.equal(refused.code, 7)
    assert.match(
      refused.stderr,
      /this would read 2 records again and give up others, and nobody knows/,
    )
    const done = await all.run([...accept, '--yes'])
    assert.equal(done.code, 0)
    assert.match(done.stdout, /behind-end +5 +2 +2 +unknown/)
    await all.caughtUp()
    assert.equal((await all.done()).length, 7)
  })
})
