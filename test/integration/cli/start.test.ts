import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { eventually } from '../../support/wait.ts'
import type { TestDatabase } from '../../support/database.ts'
import { cliWithDatabase, type Cli, type CliOptions } from './run-cli.ts'

const MILLRACE = import.meta.resolve('../../../src/index.ts')
const CONFIG = import.meta.resolve('../../../src/app/config.ts')
const ZOD = import.meta.resolve('zod')

/** Far more than it takes, for a machine that is busy with other tests. */
const PATIENCE = { timeoutMs: 60_000 }

/** One application that makes a job of every event; a job takes the time that its event says. */
const SHOP = `
import { application, event, job, toJob } from '${MILLRACE}'
import { defineConfig } from '${CONFIG}'
import { z } from '${ZOD}'
const shape = z.object({ id: z.string(), ms: z.number().optional() })
const sold = event('ITEM_SOLD', { source: 'SHOP', topic: 'orders', schema: shape, key: ({ id }) => id })
const work = job('work', { args: shape, queue: 'mail', async handle({ id, ms = 0 }) {
  console.log('begin ' + id)
  await new Promise((resolve) => setTimeout(resolve, ms))
  console.log('end ' + id)
} })
export const millrace = defineConfig({
  run: [application('shop').on(sold, toJob(work, ({ data }) => data))],
  topics: { orders: { partitions: 2 } },
})
`

interface Running {
  /** Lines on stdout so far. */
  readonly lines: string[]
  /** Lines of the log so far. */
  readonly log: Record<string, unknown>[]
  signal(name: NodeJS.Signals): void
  readonly exited: Promise<number | null>
}

/** Starts the worker and waits until it says that it has started. */
async function startWorker(
  cli: Cli,
  args: readonly string[] = [],
  options: CliOptions = {},
): Promise<Running> {
  const child = cli.spawn(['start', ...args], options)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const running: Running = {
    get lines() {
      return stdout.split('\n').slice(0, -1)
    },
    get log() {
      const lines = stderr.split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    },
    signal: (name) => void child.kill(name),
    exited: once(child, 'close').then(([code]) => code as number | null),
  }
  const started = (): boolean => running.log.some(({ message }) => message === 'started')
  await eventually(started, PATIENCE).catch((error: unknown) => {
    throw new Error(`it has not started:\n${stderr}`, { cause: error })
  })
  return running
}

async function setup(t: TestContext): Promise<Cli & TestDatabase> {
  const cli = await cliWithDatabase(t)
  await cli.write('millrace.config.ts', SHOP)
  return cli
}

async function publish(cli: Cli, data: unknown): Promise<void> {
  const { code, stderr } = await cli.run([
    'events',
    'publish',
    'ITEM_SOLD',
    '--data',
    JSON.stringify(data),
  ])
  assert.equal(code, 0, stderr)
}

describe('millrace start', () => {
  it('runs the applications and jobs of the config, and finishes what is at hand when told to stop', async (t) => {
    const cli = await setup(t)
    const worker = await startWorker(cli, ['--name', 'w1'])
    await publish(cli, { id: 'a', ms: 1_000 })
    await eventually(() => worker.lines.includes('begin a'), PATIENCE)

    const consumers = await cli.run(['consumers', 'list', '--json'])
    const { items } = JSON.parse(consumers.stdout) as { items: Record<string, unknown>[] }
    assert.deepEqual(
      items.map(({ application, topic, partition, owner, state }) => [
        application,
        topic,
        partition,
        owner,
        state,
      ]),
      [
        ['shop', 'orders', 0, 'w1', 'reading'],
        ['shop', 'orders', 1, 'w1', 'reading'],
      ],
    )
    assert.ok(
      items.every(
        ({ position, epoch }) => typeof position === 'string' && typeof epoch === 'string',
      ),
    )
    assert.equal((await cli.run(['healthcheck', '--name', 'w1'])).code, 0)

    worker.signal('SIGTERM')
    assert.equal(await worker.exited, 0)
    assert.deepEqual(worker.lines, ['begin a', 'end a'])
    assert.equal(worker.log.at(-1)?.['message'], 'stopped')
    assert.match(String(worker.log[0]?.['profile']), /^profile default · db test_/)
    const jobs = await cli.run(['jobs', 'list', '--columns', 'state'])
    assert.equal(jobs.stdout, 'state\ncompleted\n')
  })

  it('stops at once when told so twice: exit 130', async (t) => {
    const cli = await setup(t)
    const worker = await startWorker(cli)
    await publish(cli, { id: 'slow', ms: 60_000 })
    await eventually(() => worker.lines.includes('begin slow'), PATIENCE)
    worker.signal('SIGINT')
    await eventually(() =>
      worker.log.some(({ message }) => String(message).startsWith('stopping: ')),
    )
    worker.signal('SIGINT')
    assert.equal(await worker.exited, 130)
    assert.deepEqual(worker.lines, ['begin slow'])
  })

  it('runs only what the command line names', async (t) => {
    const cli = await setup(t)
    const worker = await startWorker(cli, ['--consumers', 'none', '--queues', 'mail:3'])
    assert.deepEqual(worker.log[0]?.['applications'], [])
    assert.deepEqual(worker.log[0]?.['queues'], { mail: 3 })
    await publish(cli, { id: 'a' })
    worker.signal('SIGTERM')
    assert.equal(await worker.exited, 0)
    assert.deepEqual(worker.lines, [])
    const unknown = await cli.run(['start', '--consumers', 'shp'])
    assert.equal(unknown.code, 2)
    assert.match(unknown.stderr, /Did you mean 'shop'\?/)
    assert.equal((await cli.run(['start', '--queues', 'mail:x'])).code, 2)
  })

  it('serves figures where the command line says, and refuses what is no place', async (t) => {
    const cli = await setup(t)
    const worker = await startWorker(cli, ['--metrics', '127.0.0.1:0'])
    const { url } = worker.log.find(({ message }) => message === 'metrics are served') ?? {}
    const answer = await fetch(String(url))
    assert.equal(answer.status, 200)
    assert.match(await answer.text(), /^millrace_processes 1$/m)
    const taken = await cli.run(['start', '--metrics', new URL(String(url)).port])
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, /E_METRICS_LISTEN/)
    worker.signal('SIGTERM')
    assert.equal(await worker.exited, 0)
    for (const place of ['here', '70000', 'host:'])
      assert.equal((await cli.run(['start', '--metrics', place])).code, 2, place)
  })

  it('says in its log what is wrong with the database, and exits 6', async (t) => {
    const cli = await setup(t)
    const env = { DATABASE_URL: 'postgres://ana:s3cret@127.0.0.1:1/shop' }
    const { code, stderr } = await cli.run(['start'], { env })
    assert.equal(code, 6)
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual([lines.at(-1)?.['level'], lines.at(-1)?.['code']], ['error', 'E_DB_CONNECT'])
    assert.doesNotMatch(stderr, /s3cret/)
  })

  it('starts nothing in a dry run, but says what it would', async (t) => {
    const cli = await setup(t)
    const { code, stderr } = await cli.run(['start', '--dry-run', '--queues', 'none'])
    assert.equal(code, 0)
    const entry = JSON.parse(stderr) as Record<string, unknown>
    assert.deepEqual(
      [entry['message'], entry['applications'], entry['queues']],
      ['would start', ['shop'], false],
    )
    const json = await cli.run(['start', '--dry-run', '--queues', 'none', '--json'])
    const { applications, queues } = JSON.parse(json.stdout) as Record<string, unknown>
    assert.deepEqual([applications, queues], [['shop'], false])
  })
})

describe('millrace consumers list', () => {
  it('teaches when there are no positions', async (t) => {
    const cli = await cliWithDatabase(t)
    const { code, stdout, stderr } = await cli.run(['consumers', 'list'])
    assert.deepEqual([code, stdout], [0, ''])
    assert.match(stderr, /^no positions\. .*millrace start/)
    const named = await cli.run(['consumers', 'list', '--app', 'shop'])
    assert.equal(named.code, 5)
    assert.match(
      named.stderr,
      /there is no application 'shop'\. There are none\n {2}code E_CONSUMER_NOT_FOUND/,
    )
  })

  it('shows a halted partition with its reason on one line', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `insert into millrace.position (application, topic_id, partition, topic, next_offset, halted)
       values ('shop', gen_random_uuid(), 0, 'orders', 9007199254740993, E'gone\\r\\n\\u001b[2Jfor ever')`,
    )
    const { stdout } = await cli.run([
      'consumers',
      'list',
      '--columns',
      'app,position,end,state,reason',
    ])
    assert.equal(
      stdout,
      'app           position  end  state   reason\nshop  9007199254740993    -  halted  gone\\r\\n\\x1b[2Jfor ever\n',
    )
  })
})
