import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'
import { assertHarmless, cliIn, cliWithDatabase, type CliResult } from './run-cli.ts'

const EVENT = import.meta.resolve('../../../src/events/event.ts')
const ZOD = import.meta.resolve('zod')
/** Nobody listens there. */
const NOBODY = '127.0.0.1:1'

interface Setup {
  readonly app: string
  readonly topic: string
  readonly pool: pg.Pool
  readonly millrace: Millrace
  readonly brokers: string
  /** Tells the command where the log is. */
  readonly run: (...args: readonly string[]) => Promise<CliResult>
  /** Only the environment does. */
  readonly runWith: (env: Record<string, string>, ...args: readonly string[]) => Promise<CliResult>
  /** The numbers that were handled, in order. */
  readonly handled: () => Promise<number[]>
}

/** An application that runs on a topic of its own on Kafka, and commands that are told of Kafka in this way. */
async function setup(t: TestContext, told: 'option' | 'environment' = 'option'): Promise<Setup> {
  const [{ url, pool }, shared] = await Promise.all([testDatabase(t), sharedKafka()])
  const brokers = shared.brokers.join(',')
  const id = randomBytes(6).toString('hex')
  const topic = `numbers-${id}`
  const app = `app-${id}`
  await pool.query('create table done (seq bigserial, n int)')
  const counted = event('COUNTED', { source: 'TEST', topic, schema: z.object({ n: z.int() }) })
  const millrace = await running(t, {
    database: url,
    log: kafka({ brokers }),
    topics: { [topic]: { partitions: 1 } },
    run: [
      application(app).on(
        counted,
        inTransaction(async ({ data }, { tx }) => {
          await tx.query('insert into done (n) values ($1)', [data.n])
        }),
      ),
    ],
  })
  cleanup(t, () => millrace.log.deleteTopic(topic))
  const cli = await cliIn(t, url)
  await cli.write(
    'millrace.config.ts',
    `import { event } from '${EVENT}'
import { z } from '${ZOD}'
const schema = z.object({ n: z.int() })
export const millrace = { events: [event('COUNTED', { source: 'TEST', topic: '${topic}', schema })] }
`,
  )
  return {
    app,
    topic,
    pool,
    millrace,
    brokers,
    run: (...args) =>
      told === 'option'
        ? // The option comes before the environment.
          cli.run([...args, '--brokers', brokers], { env: { MILLRACE_BROKERS: NOBODY } })
        : cli.run(args, { env: { MILLRACE_BROKERS: brokers } }),
    runWith: (env, ...args) => cli.run(args, { env }),
    handled: async () =>
      (await pool.query<{ n: number }>('select n from done order by seq')).rows.map(({ n }) => n),
  }
}

function jsonOf<T>({ code, stdout, stderr }: CliResult): T {
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as T
}

interface Listed {
  readonly items: readonly {
    readonly application: string
    readonly topic: string
    readonly partition: number
    readonly position: string
    readonly lag: string | null
    readonly state: string
  }[]
}

for (const told of ['option', 'environment'] as const) {
  describe(`the command line on Kafka, told so by an ${told}`, () => {
    it('publishes, reads, lists, pauses, seeks and traces what is there', async (t) => {
      const { app, topic, run, millrace, handled } = await setup(t, told)
      const publish = async (n: number): Promise<string> => {
        const data = JSON.stringify({ n })
        const done = await run('events', 'publish', 'COUNTED', '--data', data, '--json')
        assert.match(done.stderr, /log kafka/)
        const { items } = jsonOf<{ items: { id: string; topic: string; offset: string }[] }>(done)
        assert.equal(items[0]?.topic, topic)
        return items[0]?.id as string
      }
      const first = await publish(1)
      await publish(2)
      await settled(millrace)
      assert.deepEqual(await handled(), [1, 2])

      const tail = await run(
        'events',
        'tail',
        topic,
        '--from',
        'beginning',
        '--no-follow',
        '--jsonl',
      )
      assert.equal(tail.code, 0, tail.stderr)
      const records = tail.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { id: string; offset: string; data: unknown })
      assert.deepEqual(
        records.map(({ offset, data }) => [offset, data]),
        [
          ['0', { n: 1 }],
          ['1', { n: 2 }],
        ],
      )
      assert.equal(records[0]?.id, first)

      const list = async (): Promise<Listed['items'][number] | undefined> =>
        jsonOf<Listed>(await run('consumers', 'list', '--app', app, '--json')).items[0]
      const now = await list()
      assert.deepEqual(
        [now?.topic, now?.partition, now?.position, now?.lag, now?.state],
        [topic, 0, '2', '0', 'reading'],
      )
      const got = await run('consumers', 'get', '--app', app)
      assert.equal(got.code, 0, got.stderr)
      assert.match(got.stdout, new RegExp(topic))
      assertHarmless(got.stdout)

      for (const asked of [first, `${topic}/0/0`]) {
        const traced = await run('trace', asked)
        assert.equal(traced.code, 0, traced.stderr)
        assert.match(traced.stdout, /COUNTED/)
        assert.match(traced.stdout, new RegExp(app))
      }

      const pause = ['consumers', 'pause', '--app', app, '--reason', 'to see']
      assert.equal((await run(...pause)).code, 0)
      await eventually(async () => (await list())?.state === 'paused')
      await publish(3)
      await eventually(async () => (await list())?.lag === '1')
      assert.deepEqual(await handled(), [1, 2])
      const seek = ['consumers', 'seek', '--app', app, '--topic', topic, '--to']
      const planned = await Promise.all(
        ['beginning', 'end', '1', '1h'].map(async (to) => {
          const { moves } = jsonOf<{ readonly moves: readonly Readonly<Record<string, string>>[] }>(
            await run(...seek, to, '--dry-run', '--json'),
          )
          return moves.map((move) => [move['to'], move['reread'], move['skipped']])
        }),
      )
      assert.deepEqual(planned, [
        [['0', '2', '0']],
        [['3', '0', '1']],
        [['1', '1', '0']],
        [['0', '2', '0']],
      ])
      const sought = await run(...seek, '1', '--yes', '--reason', 'again')
      assert.equal(sought.code, 0, sought.stderr)
      assert.equal((await run('consumers', 'resume', '--app', app)).code, 0)
      await eventually(async () => (await handled()).length === 4)
      assert.deepEqual(await handled(), [1, 2, 2, 3])

      const doctor = await run('doctor')
      assert.match(doctor.stdout, /^✓ log \(kafka\) +answers; \d+ topics$/m)
    })
  })
}

describe('the command line on Kafka', () => {
  it('decides about a topic that was deleted and made again', async (t) => {
    const { app, topic, run, millrace, handled } = await setup(t)
    const publish = (n: number): Promise<CliResult> =>
      run('events', 'publish', 'COUNTED', '--data', JSON.stringify({ n }))
    assert.equal((await publish(1)).code, 0)
    await settled(millrace)
    await millrace.log.deleteTopic(topic)
    await eventually(async () => millrace.log.createTopic(topic, { partitions: 1 }))
    assert.equal((await publish(2)).code, 0)
    const states = async (): Promise<string[]> =>
      jsonOf<Listed>(await run('consumers', 'list', '--app', app, '--json')).items.map(
        ({ state }) => state,
      )
    await eventually(async () => (await states()).includes('halted'))
    const got = await run('consumers', 'get', '--app', app)
    const [, command = ''] =
      /(millrace consumers resolve adopt .*?) --dry-run/.exec(got.stdout) ?? []
    assert.equal(
      command,
      `millrace consumers resolve adopt --app ${app} --topic ${topic} --from beginning`,
      got.stdout,
    )
    const resolved = await run(...command.split(' ').slice(1), '--reason', 'made again')
    assert.equal(resolved.code, 0, resolved.stderr)
    await eventually(async () => (await handled()).length === 2)
    assert.deepEqual(await handled(), [1, 2])
    await eventually(async () => (await states()).every((state) => state === 'reading'))
  })

  it('says in doctor that no broker answers, and names what does', async (t) => {
    const { runWith, brokers } = await setup(t)
    const dead = await runWith({ MILLRACE_BROKERS: brokers }, 'doctor', '--brokers', NOBODY)
    assert.equal(dead.code, 1)
    assert.match(dead.stdout, /^✗ log \(kafka\) +.*127\.0\.0\.1:1.*\n.*fix: .*--brokers$/m)
    // What is in the database is looked at all the same.
    assert.match(dead.stdout, /^. migrations +\d+ applied/m)
    const alive = await runWith({ MILLRACE_BROKERS: brokers }, 'doctor')
    assert.match(alive.stdout, /^✓ log \(kafka\)/m)
    assert.doesNotMatch(alive.stdout, /log of the positions/)
    const table = await runWith({}, 'doctor')
    assert.doesNotMatch(table.stdout, /log \(kafka\)/)
    assert.match(
      table.stdout,
      /^! log of the positions +1 \(numbers-\w+\) is of Kafka, and this is the table log$/m,
    )
  })

  it('says in doctor that the database was used with another log, not that topics were made anew', async (t) => {
    const [cli, { brokers }] = await Promise.all([cliWithDatabase(t), sharedKafka()])
    const doctor = async (): Promise<string> =>
      (await cli.run(['doctor', '--brokers', brokers.join(',')])).stdout
    const stop = (topic: string, id: string): Promise<unknown> =>
      cli.pool.query(
        `insert into millrace.position (application, topic_id, partition, topic, next_offset, halted)
         values ('search', ${id}, 0, '${topic}', 5, 'topic ${topic} was deleted and made anew')`,
      )
    await stop('films', 'gen_random_uuid()')
    const doubtful = await doctor()
    assert.match(
      doubtful,
      /^✗ log of the positions +1 \(films\) is of another cluster, or all their/m,
    )
    assert.match(doubtful, /^✗ halted partitions +1: .*made anew/m)
    await stop('games', 'gen_random_uuid()')
    const cluster = await doctor()
    assert.match(
      cluster,
      /^✗ log of the positions +2 \(films, games\) .* none of them; 2 are stopped$/m,
    )
    assert.match(cluster, /^✓ halted partitions +none but those of another log$/m)
    assert.doesNotMatch(cluster, /made anew/)
    await cli.pool.query('delete from millrace.position')
    await cli.pool.query(
      `insert into millrace.topic (id, name, partitions) values (gen_random_uuid(), 'films', 1)`,
    )
    await stop('films', '(select id from millrace.topic)')
    const table = await doctor()
    assert.match(
      table,
      /^✗ log of the positions +1 \(films\) is of the table log, and this is kafka; 1 is stopped\n.*fix: Name the log/m,
    )
    assert.doesNotMatch(table, /made anew/)
  })
})
