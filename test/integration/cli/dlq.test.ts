import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { writeDeadLetters, type NewDeadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { assertHarmless, cliWithDatabase } from './run-cli.ts'

const TOPIC_ID = '0198c0de-0000-7000-8000-000000000001'

function letter(offset: bigint, more: Partial<NewDeadLetter> = {}): NewDeadLetter {
  return {
    application: 'search',
    handler: 'index',
    stage: 'prepare',
    origin: { topic: 'orders', topicId: TOPIC_ID, partition: 3, offset, generation: 0 },
    record: {
      key: Buffer.from('k1'),
      value: Buffer.from('{"a":1}'),
      headers: [['ce_type', Buffer.from('ITEM_SOLD')]],
      timestamp: new Date('2026-11-01T00:00:00Z'),
    },
    event: { id: 'e1', type: 'ITEM_SOLD', version: 2 },
    job: null,
    error: { class: 'TypeError', code: 'E_HANDLER', message: 'no such field' },
    attempts: 5,
    codeVersion: '1.4.2',
    trace: { correlationId: 'c1' },
    ...more,
  }
}

const HOSTILE_VALUE = Buffer.from([0xff, 0xfe, 0x00, 0x1b, 0x5b, 0x32, 0x4a, 0x0d, 0x0a])

describe('millrace dlq list', () => {
  it('teaches what dead letters are when there are none', async (t) => {
    const cli = await cliWithDatabase(t)
    const { code, stdout, stderr } = await cli.run(['dlq', 'list'])
    assert.deepEqual([code, stdout], [0, ''])
    assert.match(stderr, /^no dead letters\. /)
    const narrowed = await cli.run(['dlq', 'list', '--app', 'search'])
    assert.match(narrowed.stderr, /^no dead letters that fit/)
  })

  it('shows open ones, newest first, a page at a time', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(
      cli.pool,
      [1n, 2n, 3n, 4n].map((offset) => letter(offset)),
    )
    await cli.pool.query(`update millrace.dead_letter set state = 'replayed' where "offset" = 2`)
    const first = await cli.run(['dlq', 'list', '-n', '2', '--columns', 'id,origin,error'])
    assert.equal(
      first.stdout,
      'id  origin      error\n 4  orders/3@4  E_HANDLER: no such field\n 3  orders/3@3  E_HANDLER: no such field\n',
    )
    assert.equal(first.stderr, 'more: --before 3\n')
    const rest = await cli.run(['dlq', 'list', '--before', '3', '--json'])
    const { items, more } = JSON.parse(rest.stdout) as {
      items: { id: string; offset: string }[]
      more: unknown
    }
    assert.deepEqual(
      items.map(({ id, offset }) => [id, offset]),
      [['1', '1']],
    )
    assert.equal(more, null)
    const all = await cli.run(['dlq', 'list', '--state', 'all', '--jsonl'])
    assert.equal(all.stdout.trimEnd().split('\n').length, 4)
  })

  it('and get say when one failed last in a replay', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [letter(1n), letter(2n)])
    await cli.pool.query(
      `update millrace.dead_letter set replays = 2, failed_at = '2026-11-03 04:05:06Z' where "offset" = 1`,
    )
    const { stdout } = await cli.run(['dlq', 'list', '--columns', 'origin,replays,failed-at'])
    assert.match(stdout, /^orders\/3@2 +0 *-?$/m)
    assert.match(stdout, /^orders\/3@1 +2 +2026-11-03 04:05:06Z$/m)
    const get = await cli.run(['dlq', 'get', '1'])
    assert.match(get.stdout, /^failed last +2026-11-03 04:05:06Z$/m)
    assert.doesNotMatch((await cli.run(['dlq', 'get', '2'])).stdout, /^failed last/m)
    const json = await cli.run(['dlq', 'get', '1', '--json'])
    assert.equal(
      (JSON.parse(json.stdout) as { failedAt: string }).failedAt,
      '2026-11-03T04:05:06.000Z',
    )
  })

  it('gives the tenth before the ninth, and page by page all of them', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(
      cli.pool,
      Array.from({ length: 11 }, (_, n) => letter(BigInt(n))),
    )
    const seen: string[] = []
    for (let before: readonly string[] = []; ; ) {
      const { stdout } = await cli.run(['dlq', 'list', '-n', '4', '--json', ...before])
      const page = JSON.parse(stdout) as { items: { id: string }[]; more: string | null }
      seen.push(...page.items.map(({ id }) => id))
      if (page.more === null) break
      before = ['--before', seen.at(-1) as string]
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 11 }, (_, n) => String(11 - n)),
    )
  })

  it('fits the terminal, one line per dead letter, whatever it holds', async (t) => {
    const cli = await cliWithDatabase(t)
    const message = `\u001b[2Jline 1\r\nline 2\u202e ${'long '.repeat(200)}`
    const type = 'TYPE\u001b]8;;http://evil\u0007'
    await writeDeadLetters(cli.pool, [
      letter(1n, { error: { class: 'Error', message }, event: { type } }),
    ])
    const { stdout } = await cli.run(['dlq', 'list'], { env: { COLUMNS: '120' } })
    const lines = stdout.trimEnd().split('\n')
    assert.equal(lines.length, 2)
    assert.ok(lines.every((line) => line.length <= 120))
    assertHarmless(stdout)
    const narrow = await cli.run([
      'dlq',
      'list',
      '--since',
      '5m',
      '--stage',
      'prepare',
      '--topic',
      'orders',
      '--handler',
      'index',
    ])
    assert.equal(narrow.stdout.trimEnd().split('\n').length, 2)
    assert.equal((await cli.run(['dlq', 'list', '--until', '5m'])).stdout, '')
  })
})

describe('millrace dlq get', () => {
  it('shows origin, error and bytes as text', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [letter(42n)])
    const { code, stdout } = await cli.run(['dlq', 'get', '1'])
    assert.equal(code, 0)
    for (const line of [
      /^origin +orders\/3@42$/m,
      /^error +E_HANDLER: no such field$/m,
      /^key +k1$/m,
      /^value +\{"a":1\}$/m,
      /^event +ITEM_SOLD version 2$/m,
      /^header ce_type +ITEM_SOLD$/m,
    ]) {
      assert.match(stdout, line)
    }
  })

  it('gives bytes as base64, and as text only where they are UTF-8', async (t) => {
    const cli = await cliWithDatabase(t)
    const record = {
      key: null,
      value: HOSTILE_VALUE,
      headers: [['x\u001b', null]] as const,
      timestamp: new Date(0),
    }
    await writeDeadLetters(cli.pool, [letter(9_007_199_254_740_993n, { record })])
    const { stdout } = await cli.run(['dlq', 'get', '1', '--json'])
    const found = JSON.parse(stdout) as Record<string, unknown>
    assert.deepEqual(found['value'], { base64: HOSTILE_VALUE.toString('base64') })
    assert.equal(found['key'], null)
    assert.deepEqual(found['headers'], [{ name: 'x\u001b', value: null }])
    assert.equal(found['offset'], '9007199254740993')
    const text = await cli.run(['dlq', 'get', '1'])
    assert.match(text.stdout, /^value +\(9 bytes, not text: ff fe 00 1b/m)
    assertHarmless(text.stdout)
  })

  it('writes exactly the bytes of the value or the key, and nothing else', async (t) => {
    const cli = await cliWithDatabase(t)
    const record = {
      key: Buffer.from([0]),
      value: HOSTILE_VALUE,
      headers: [],
      timestamp: new Date(0),
    }
    await writeDeadLetters(cli.pool, [
      letter(1n, { record }),
      letter(2n, { record: { ...record, value: null } }),
    ])
    const value = await cli.run(['dlq', 'get', '1', '--raw', 'value'])
    assert.equal(value.code, 0)
    assert.deepEqual(value.bytes, HOSTILE_VALUE)
    assert.deepEqual((await cli.run(['dlq', 'get', '1', '--raw', 'key'])).bytes, Buffer.from([0]))
    const none = await cli.run(['dlq', 'get', '2', '--raw', 'value'])
    assert.deepEqual([none.code, none.stdout], [5, ''])
    assert.equal((await cli.run(['dlq', 'get', '2', '--raw', 'vale'])).code, 2)
  })

  it('shows the newest that is open when asked for the latest', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [letter(1n), letter(2n), letter(3n)])
    await cli.pool.query(`update millrace.dead_letter set state = 'replayed' where "offset" = 3`)
    const { code, stdout } = await cli.run(['dlq', 'get', 'latest', '--json'])
    assert.deepEqual([code, (JSON.parse(stdout) as { id: string }).id], [0, '2'])
  })

  it('exits 5 when there is none', async (t) => {
    const cli = await cliWithDatabase(t)
    const latest = await cli.run(['dlq', 'get', 'latest'])
    assert.deepEqual([latest.code, latest.stdout], [5, ''])
    assert.match(latest.stderr, /there is no open dead letter/)
    const { code, stderr } = await cli.run(['dlq', 'get', '17'])
    assert.equal(code, 5)
    assert.match(stderr, /there is no dead letter 17[^]*E_DLQ_NOT_FOUND[^]*next millrace dlq list/)
  })
})
