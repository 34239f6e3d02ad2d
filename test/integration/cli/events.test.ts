import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { createCore } from '../../../src/core/core.ts'
import { tableLog } from '../../../src/log/table-log.ts'
import type { NewRecord } from '../../../src/log/port.ts'
import { eventually } from '../../support/wait.ts'
import { postgresProxy, type Cut } from '../../support/proxy.ts'
import type { TestDatabase } from '../../support/database.ts'
import { assertHarmless, cliWithDatabase, type Cli } from './run-cli.ts'

const EVENT = import.meta.resolve('../../../src/events/event.ts')
const ZOD = import.meta.resolve('zod')
const CONFIG = `
import { event } from '${EVENT}'
import { z } from '${ZOD}'
const schema = z.object({ id: z.string(), n: z.number().optional() })
export const millrace = { events: [event('ITEM_SOLD', { source: 'SHOP', topic: 'orders', schema, key: ({ id }) => id })] }
`

interface Setup extends Cli, TestDatabase {
  append(...records: (Partial<NewRecord> & { readonly value: Uint8Array | null })[]): Promise<void>
}

async function setup(t: TestContext): Promise<Setup> {
  const cli = await cliWithDatabase(t)
  await cli.write('millrace.config.ts', CONFIG)
  const log = tableLog().open({ core: createCore(), pool: cli.pool })
  await log.createTopic('orders', { partitions: 1 })
  return {
    ...cli,
    async append(...records) {
      await log.append(
        records.map((record) => ({ topic: 'orders', key: null, headers: [], ...record })),
      )
    },
  }
}

function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

describe('millrace events publish', () => {
  it('publishes one event, and says where and as whom', async (t) => {
    const cli = await setup(t)
    const { code, stdout, stderr } = await cli.run([
      'events',
      'publish',
      'ITEM_SOLD',
      '--data',
      '{"id":"a"}',
      '--json',
    ])
    assert.equal(code, 0)
    assert.match(stderr, /^profile default · db test_/)
    const document = JSON.parse(stdout) as { published: number; items: Record<string, unknown>[] }
    assert.equal(document.published, 1)
    assert.deepEqual([document.items[0]?.['topic'], document.items[0]?.['offset']], ['orders', '0'])
    const [record] = jsonLines((await cli.run(['events', 'tail', '--no-follow', '--jsonl'])).stdout)
    assert.deepEqual(record?.['data'], { id: 'a' })
    assert.deepEqual(
      [record?.['type'], record?.['source'], record?.['id']],
      ['ITEM_SOLD', 'SHOP', document.items[0]?.['id']],
    )
  })

  it('publishes the lines that fit and names those that do not: exit 4', async (t) => {
    const cli = await setup(t)
    const input = '{"id":"a"}\n{"id":1}\n\nno json\n{"id":"b","n":9007199254740993}\n{"id":"c"}\n'
    const { code, stdout, stderr } = await cli.run(
      ['events', 'publish', 'ITEM_SOLD', '--jsonl', '--key', 'k'],
      { input },
    )
    assert.equal(code, 4)
    assert.equal(jsonLines(stdout).length, 2)
    for (const line of [
      /refused stdin line 2: .*does not match/,
      /refused stdin line 4: .*no JSON/,
      /refused stdin line 5: n: 9007199254740993 is too large/,
    ]) {
      assert.match(stderr, line)
    }
    assert.match(stderr, /published 2, refused 3/)
    const records = jsonLines((await cli.run(['events', 'tail', '--no-follow', '--jsonl'])).stdout)
    assert.deepEqual(
      records.map(({ key, data }) => [(key as { text: string }).text, (data as { id: string }).id]),
      [
        ['k', 'a'],
        ['k', 'c'],
      ],
    )
    assert.equal((await cli.run(['events', 'publish', 'ITEM_SOLD', '--data', '{}'])).code, 1)
  })

  it('wants a yes for more than 100: exit 7; and publishes nothing in a dry run', async (t) => {
    const cli = await setup(t)
    const lines = Array.from({ length: 101 }, (_, n) => JSON.stringify({ id: `i${n}` })).join('\n')
    const file = await cli.write('sold.jsonl', lines)
    const refused = await cli.run(['events', 'publish', 'ITEM_SOLD', '--file', file])
    assert.equal(refused.code, 7)
    assert.match(refused.stderr, /E_CLI_NOT_CONFIRMED/)
    const dry = await cli.run([
      'events',
      'publish',
      'ITEM_SOLD',
      '--file',
      file,
      '--dry-run',
      '--json',
    ])
    assert.deepEqual(
      [dry.code, (JSON.parse(dry.stdout) as { published: number }).published],
      [0, 101],
    )
    const nothing = await cli.run(['events', 'tail', '--no-follow'])
    assert.deepEqual([nothing.code, nothing.stdout], [0, ''])
    assert.match(nothing.stderr, /^no records\. /)
    assert.equal(
      (await cli.run(['events', 'publish', 'ITEM_SOLD', '--file', file, '--yes'])).code,
      0,
    )
  })

  for (const { side, outcome, code, published } of [
    { side: 'reply', outcome: 'publishes all the same', code: 0, published: 1 },
    { side: 'request', outcome: 'publishes nothing and says so', code: 6, published: 0 },
  ] as const) {
    it(`${outcome} when the connection is lost at the ${side} of the COMMIT`, async (t) => {
      const cli = await setup(t)
      await using proxy = await postgresProxy(cli.url)
      const cuts: Cut[] = []
      void proxy
        .cutCommit(side, ({ statements }) => statements.includes('millrace:log-append'))
        .then((cut) => cuts.push(cut))
      const ended = await cli.run(['events', 'publish', 'ITEM_SOLD', '--data', '{"id":"a"}'], {
        env: { DATABASE_URL: proxy.through(cli.url) },
      })
      const tail = await cli.run(['events', 'tail', '--no-follow', '--jsonl'])
      assert.deepEqual([cuts.length, ended.code], [1, code], ended.stderr)
      assert.equal(jsonLines(tail.stdout).length, published)
      assert.match(
        ended.stderr,
        published === 1 ? /published 1, refused 0/ : /E_DB_CONNECT|rolled back/,
      )
    })
  }

  it('tells the readers', async (t) => {
    const cli = await setup(t)
    const listener = await cli.pool.connect()
    const heard: string[] = []
    try {
      listener.on('notification', ({ payload }) => heard.push(payload ?? ''))
      await listener.query('listen millrace')
      await cli.run(['events', 'publish', 'ITEM_SOLD', '--data', '{"id":"a"}'])
      await eventually(() => heard.join().startsWith('log:'))
    } finally {
      listener.release(true)
    }
  })

  it('exits 5 for an event, a file or a topic that is not there', async (t) => {
    const cli = await setup(t)
    const event = await cli.run(['events', 'publish', 'ITEM_SLD', '--data', '{}'])
    assert.equal(event.code, 5)
    assert.match(event.stderr, /Did you mean 'ITEM_SOLD'\?/)
    assert.equal(
      (await cli.run(['events', 'publish', 'ITEM_SOLD', '--file', 'nope.jsonl'])).code,
      5,
    )
    await cli.pool.query('delete from millrace.topic')
    const topic = await cli.run(['events', 'publish', 'ITEM_SOLD', '--data', '{"id":"a"}'])
    assert.equal(topic.code, 5)
    assert.match(topic.stderr, /E_LOG_UNKNOWN_TOPIC/)
  })
})

describe('millrace events tail', () => {
  it('shows each record on one line, whatever it holds', async (t) => {
    const cli = await setup(t)
    await cli.append(
      {
        value: Buffer.from('{"a":\r\n"\u001b[2J\u202e"}'),
        key: Buffer.from('k\u0000\n'),
        headers: [['ce_type', Buffer.from('T\u001b]0;x\u0007')]],
      },
      { value: Uint8Array.of(0xff, 0x00) },
      { value: null, key: Buffer.from('gone') },
    )
    const { code, stdout } = await cli.run(['events', 'tail', 'orders', '--no-follow'])
    assert.equal(code, 0)
    assertHarmless(stdout)
    const lines = stdout.trimEnd().split('\n')
    assert.equal(lines.length, 3)
    assert.match(
      lines[0] ?? '',
      /orders\/0@0 T\\x1b\]0;x\\x07 k\\x00\\n \{"a":\\r\\n"\\x1b\[2J\\u202e"\}$/,
    )
    assert.match(lines[1] ?? '', /orders\/0@1 - - \(2 bytes, not text: ff 00\)$/)
    assert.match(lines[2] ?? '', /orders\/0@2 - gone \(tombstone\)$/)
    const [, bytes, tombstone] = jsonLines(
      (await cli.run(['events', 'tail', '--no-follow', '--jsonl'])).stdout,
    )
    assert.deepEqual(bytes?.['value'], { base64: '/wA=' })
    assert.equal(tombstone?.['value'], null)
  })

  it('begins where it is told to, and ends after so many', async (t) => {
    const cli = await setup(t)
    const hour = 3_600_000
    for (let n = 0; n < 5; n += 1) {
      await cli.append({
        value: Buffer.from(`${n}`),
        key: Buffer.from(`k${n % 2}`),
        timestamp: new Date(Date.now() - (5 - n) * hour),
      })
    }
    const values = async (...args: string[]): Promise<unknown[]> => {
      const { code, stdout, stderr } = await cli.run([
        'events',
        'tail',
        'orders',
        '--no-follow',
        '--json',
        ...args,
      ])
      assert.equal(code, 0, stderr)
      return (JSON.parse(stdout) as { items: { data: unknown }[] }).items.map(({ data }) => data)
    }
    assert.deepEqual(await values(), [0, 1, 2, 3, 4])
    assert.deepEqual(await values('--from', 'end'), [])
    assert.deepEqual(await values('--from', '3'), [3, 4])
    assert.deepEqual(await values('--from', '150m'), [3, 4])
    assert.deepEqual(await values('-n', '2'), [0, 1])
    assert.deepEqual(await values('--key', 'k1'), [1, 3])
    assert.deepEqual(await values('--partition', '7'), [])
    assert.equal((await cli.run(['events', 'tail', '--from', 'yesterday'])).code, 2)
  })

  it('keeps the order of a partition whatever the time of its records', async (t) => {
    const cli = await setup(t)
    const log = tableLog().open({ core: createCore(), pool: cli.pool })
    await log.createTopic('late', { partitions: 2 })
    const at = (partition: number, second: number): Partial<NewRecord> & { value: Uint8Array } => ({
      topic: 'late',
      partition,
      timestamp: new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
      value: Buffer.from('{}'),
    })
    await cli.append(at(0, 30), at(0, 10), at(1, 20), at(1, 40))
    const { stdout } = await cli.run(['events', 'tail', 'late', '--no-follow', '--jsonl'])
    assert.deepEqual(
      jsonLines(stdout).map(
        ({ partition, offset }) => `${partition as number}@${offset as string}`,
      ),
      ['1@0', '0@0', '0@1', '1@1'],
    )
  })

  it('keeps whole numbers that a double cannot hold', async (t) => {
    const cli = await setup(t)
    await cli.append({ value: Buffer.from('{"n":9007199254740993}') })
    const [record] = jsonLines((await cli.run(['events', 'tail', '--no-follow', '--jsonl'])).stdout)
    assert.deepEqual(record?.['data'], { n: '9007199254740993' })
  })

  it('follows what comes, also in topics made later, until it is interrupted: exit 130', async (t) => {
    const cli = await setup(t)
    await cli.append({ value: Buffer.from('"old"') })
    const child = cli.spawn(['events', 'tail', '--jsonl'])
    let stdout = ''
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    const seen = (): unknown[] => jsonLines(stdout).map(({ data }) => data)
    let n = 0
    // It begins at the end, and nothing says when it has got there: so something new comes until it is seen.
    await eventually(async () => {
      await cli.append({ value: Buffer.from(`${(n += 1)}`) })
      return seen().length > 0
    })
    assert.ok(!seen().includes('old'))
    const log = tableLog().open({ core: createCore(), pool: cli.pool })
    await log.createTopic('later', { partitions: 1 })
    await log.append([{ topic: 'later', key: null, headers: [], value: Buffer.from('"later"') }])
    await eventually(() => seen().includes('later'))
    child.kill('SIGINT')
    const [code] = (await once(child, 'close')) as [number | null]
    assert.equal(code, 130)
  })

  it('ends well when nobody reads any more', async (t) => {
    const cli = await setup(t)
    await cli.append(...Array.from({ length: 500 }, () => ({ value: Buffer.alloc(2_000, 0x61) })))
    const child = cli.spawn(['events', 'tail', '--no-follow'])
    child.stdout.once('data', () => child.stdout.destroy())
    const [code] = (await once(child, 'close')) as [number | null]
    assert.equal(code, 0)
  })

  it('exits 5 for a topic that is not there, with the one that was likely meant', async (t) => {
    const cli = await setup(t)
    const { code, stderr } = await cli.run(['events', 'tail', 'ordres'])
    assert.equal(code, 5)
    assert.match(stderr, /Did you mean 'orders'\?[^]*E_LOG_UNKNOWN_TOPIC/)
  })
})
