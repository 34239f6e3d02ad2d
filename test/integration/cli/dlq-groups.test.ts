import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { writeDeadLetters, type NewDeadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { parseCondition, searchDeadLetters } from '../../../src/dead-letter/queries.ts'
import { deadLetter, ODD_VALUES, recordOf } from '../../support/dead-letters.ts'
import { assertHarmless, cliWithDatabase } from './run-cli.ts'

interface Group {
  readonly fingerprint: string
  readonly count: number
  readonly lastHour: number
  readonly keys: number
  readonly applications: string[]
  readonly codeVersions: string[]
  readonly exampleId: string
  readonly firstSeen: string
  readonly lastSeen: string
  readonly error: { readonly message: string }
}

function lines(text: string): string[] {
  return text.trimEnd().split('\n')
}

const stockError = { class: 'Error', message: 'out of stock' }

describe('millrace dlq groups', () => {
  it('teaches what groups are when there are none', async (t) => {
    const cli = await cliWithDatabase(t)
    const { code, stdout, stderr } = await cli.run(['dlq', 'groups'])
    assert.deepEqual([code, stdout], [0, ''])
    assert.match(stderr, /^no dead letters\. .*grouped/)
    assert.match((await cli.run(['dlq', 'groups', '--app', 'x'])).stderr, /that fit/)
  })

  it('counts what failed for one cause, with its keys, versions and times', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [
      ...Array.from({ length: 7 }, (_, n) =>
        deadLetter(n, {
          record: recordOf('{}', `k${n % 3}`),
          codeVersion: n < 2 ? '1.4.1' : '1.4.2',
        }),
      ),
      ...[10, 11].map((n) => deadLetter(n, { error: stockError, application: 'search' })),
    ])
    await cli.pool.query(
      `update millrace.dead_letter set created_at = created_at - interval '2 hours' where "offset" in (0, 1)`,
    )
    await cli.pool.query(`update millrace.dead_letter set state = 'discarded' where "offset" = 6`)
    const { stdout, stderr } = await cli.run(['dlq', 'groups', '--json'])
    const found = JSON.parse(stdout) as { items: Group[]; groups: number; letters: number }
    assert.deepEqual([found.groups, found.letters, stderr], [2, 8, ''])
    const [price, stock] = found.items as [Group, Group]
    assert.deepEqual(
      [price.count, price.lastHour, price.keys, price.applications, price.codeVersions],
      [6, 4, 3, ['billing'], ['1.4.1', '1.4.2']],
    )
    assert.equal(price.exampleId, '6')
    assert.equal(price.error.message, 'order 5 has no price')
    assert.ok(Date.parse(price.lastSeen) - Date.parse(price.firstSeen) > 7_000_000)
    assert.deepEqual([stock.count, stock.error.message], [2, 'out of stock'])

    const of = async (...args: string[]): Promise<number[]> => {
      const answer = await cli.run(['dlq', 'groups', '--jsonl', ...args])
      return lines(answer.stdout)
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as Group).count)
    }
    assert.deepEqual(await of('--sort', 'newest'), [2, 6])
    assert.deepEqual(await of('--app', 'search'), [2])
    assert.deepEqual(await of('--since', '1h'), [4, 2])
    assert.deepEqual(await of('--until', '1h'), [2])
    assert.deepEqual(await of('--state', 'discarded'), [1])
    assert.deepEqual(await of('--limit', '1'), [6])
    const text = await cli.run(['dlq', 'groups', '-n', '1'])
    assert.match(text.stdout, /order 5 has no price/)
    assert.match(text.stderr, /1 more groups; 8 dead letters in all/)
    assert.match(text.stderr, new RegExp(`next: millrace dlq sample --group ${price.fingerprint}`))

    const list = await cli.run(['dlq', 'list', '--group', price.fingerprint, '--json'])
    assert.equal((JSON.parse(list.stdout) as { items: unknown[] }).items.length, 6)
    const wrong = await cli.run(['dlq', 'list', '--group', 'xyz'])
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, /sixteen digits[^]*next millrace dlq groups/)
  })

  it('says what is parked where nothing is open, as list and sample do', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [deadLetter(1), deadLetter(2)])
    const { rows } = await cli.pool.query<{ fingerprint: string }>(
      `update millrace.dead_letter set state = 'parked' returning fingerprint`,
    )
    const group = rows[0]?.fingerprint ?? ''
    for (const command of [['groups'], ['list'], ['list', '--group', group]]) {
      const { code, stdout, stderr } = await cli.run(['dlq', ...command])
      assert.deepEqual([code, stdout], [0, ''])
      assert.match(
        stderr,
        /none is open; 2 are parked, .*`millrace dlq (?:groups|list) --state parked`/,
      )
      const other = await cli.run(['dlq', ...command, '--app', 'other'])
      assert.match(other.stderr, /no dead letters that fit/)
    }
    const sample = await cli.run(['dlq', 'sample', '--group', group])
    assert.equal(sample.code, 5)
    assert.match(sample.stderr, /no open dead letter in group \w+; 2 are parked, .*--state parked/)
    assert.match((await cli.run(['dlq', 'groups', '--state', 'parked'])).stdout, new RegExp(group))
  })

  it('has a group for those from before there were fingerprints', async (t) => {
    const cli = await cliWithDatabase(t)
    await writeDeadLetters(cli.pool, [deadLetter(1), deadLetter(2)])
    await cli.pool.query(
      `update millrace.dead_letter set fingerprint = '', fingerprint_version = null where "offset" = 1`,
    )
    assert.match((await cli.run(['dlq', 'groups'])).stdout, /^none +1 /m)
    const list = await cli.run(['dlq', 'list', '--group', 'none', '--columns', 'origin'])
    assert.equal(list.stdout, 'origin\norders/3@1\n')
    assert.match((await cli.run(['dlq', 'sample', '--group', 'none'])).stdout, /^group +none$/m)
  })

  it('goes on past odd rows, and shows nothing that a terminal would obey', async (t) => {
    const cli = await cliWithDatabase(t)
    const hostile = '\u001b[2Jline 1\r\nline 2\u202e \u001b]8;;http://evil\u0007'
    const error = { class: hostile, code: hostile, message: hostile, stack: hostile }
    await writeDeadLetters(cli.pool, [
      deadLetter(1, { error, application: hostile, handler: hostile, codeVersion: hostile }),
      deadLetter(2, { application: null, record: null, origin: null }),
      ...Object.values(ODD_VALUES).map((value, n) =>
        deadLetter(10 + n, {
          record: recordOf(value, hostile, { [hostile]: hostile, ce_source: hostile }),
          event: { type: hostile },
        }),
      ),
    ])
    // What nobody of ours writes.
    for (const [offset, odd] of ['5', 'null', '"a\\u0000"', '{"class":1}', '[]'].entries()) {
      await cli.pool.query(`update millrace.dead_letter set error = $1 where "offset" = $2`, [
        odd,
        10 + offset,
      ])
    }
    const groups = await cli.run(['dlq', 'groups'], { env: { COLUMNS: '80' } })
    assert.equal(groups.code, 0, groups.stderr)
    assert.equal(lines(groups.stdout).length, 3)
    assert.ok(lines(groups.stdout).every((line) => line.length <= 80))
    assertHarmless(groups.stdout)
    const json = await cli.run(['dlq', 'groups', '--json'])
    const { items } = JSON.parse(json.stdout) as { items: Group[] }
    assert.deepEqual(
      items.map(({ count }) => count),
      [Object.keys(ODD_VALUES).length + 1, 1],
    )
    assertHarmless(json.stdout)
    for (const { fingerprint } of items) {
      const sample = await cli.run(['dlq', 'sample', '--group', fingerprint])
      assert.equal(sample.code, 0, sample.stderr)
      assertHarmless(sample.stdout)
      const exact = await cli.run(['dlq', 'sample', '--group', fingerprint, '--json'])
      assert.ok(JSON.parse(exact.stdout))
    }
    const search = await cli.run(['dlq', 'search', '--where', 'data.currency=GBP'])
    assert.equal(search.code, 0, search.stderr)
    assertHarmless(search.stdout + search.stderr)
  })
})

describe('millrace dlq sample', () => {
  it('says what nine of ten have in common, and which are worth a look', async (t) => {
    const cli = await cliWithDatabase(t)
    const letters: NewDeadLetter[] = Array.from({ length: 50 }, (_, n) =>
      deadLetter(n, {
        record: recordOf(
          JSON.stringify({
            orderId: `o-${n}`,
            currency: n === 7 ? 'EUR' : 'GBP',
            total: n % 2,
            items: [{ sku: 'A-1', note: 'x'.repeat(n === 20 ? 500 : 10) }, { sku: `B-${n}` }],
          }),
          `k${n}`,
          { ce_source: 'web@1.41', 'x-tenant': 'blue' },
        ),
      }),
    )
    await writeDeadLetters(cli.pool, letters)
    const [group] = (
      JSON.parse((await cli.run(['dlq', 'groups', '--json'])).stdout) as { items: Group[] }
    ).items
    const fingerprint = group?.fingerprint as string
    const { code, stdout } = await cli.run(['dlq', 'sample', '--group', fingerprint])
    assert.equal(code, 0)
    for (const line of [
      /^open +50$/m,
      /^looked at +50$/m,
      /^error +TypeError: order 0 has no price$/m,
      /^oldest\S* +1 /m,
      /^newest\S* +50 /m,
      /^largest\S* +21 /m,
      /^data\.currency +"GBP" +98 %$/m,
      /^data\.items\[\]\.sku +"A-1" +100 %$/m,
      /^header\.x-tenant +"blue" +100 %$/m,
      /^producer +"web@1\.41" +100 %$/m,
      /^event version +2 +100 %$/m,
      /^code version +"1\.4\.2" +100 %$/m,
    ]) {
      assert.match(stdout, line)
    }
    for (const varying of ['data.orderId', 'data.total', 'key']) {
      assert.doesNotMatch(stdout, new RegExp(`^${varying.replace('.', '\\.')} `, 'm'))
    }
    const none = await cli.run(['dlq', 'sample', '--group', '0123456789abcdef'])
    assert.equal(none.code, 5)
    assert.match(none.stderr, /no open dead letter in group 0123456789abcdef[^]*dlq groups/)
    const which = await cli.run(['dlq', 'sample'])
    assert.deepEqual([which.code, which.stdout], [2, ''])
  })
})

describe('millrace dlq search', () => {
  it('finds by what the record carries, and by what the error says', async (t) => {
    const cli = await cliWithDatabase(t)
    const carrying = (offset: number, value: string, more: Partial<NewDeadLetter> = {}) =>
      deadLetter(offset, { record: recordOf(value), ...more })
    await writeDeadLetters(cli.pool, [
      carrying(1, '{"currency":"GBP","n":9007199254740993}'),
      carrying(2, '{"currency":"EUR","items":[{"sku":"A"},{"sku":"B"}]}'),
      carrying(3, '{"a.b":{"c":null},"yes":true}'),
      carrying(4, '"GBP"'),
      carrying(5, 'GBP'),
      deadLetter(6, {
        record: null,
        job: { id: '0198c0de-0000-7000-8000-0000000000aa', kind: 'mail', argsJson: '{"to":7}' },
        stage: 'job',
      }),
      carrying(7, '{}', {
        error: { class: 'X', message: 'm', causes: [{ class: 'Y', message: 'Not In STOCK' }] },
      }),
    ])
    const found = async (where: string): Promise<string> => {
      const { items } = await searchDeadLetters(cli.pool, { where: parseCondition(where) })
      return items.map(({ id }) => id).join()
    }
    const byCli = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await cli.run(['dlq', 'search', '--json', ...args])
      assert.equal(code, 0, stderr)
      const { items } = JSON.parse(stdout) as { items: { id: string }[] }
      return items.map(({ id }) => id).join()
    }
    for (const [where, ids] of [
      ['data.currency=GBP', '1'],
      ['data.currency!=GBP', '2'],
      ['data.currency', '2,1'],
      ['data.n=9007199254740993', '1'],
      ['data.items[].sku=B', '2'],
      ['data.items[0].sku=B', ''],
      ['data.items[1].sku=B', '2'],
      ['data.items', '2'],
      ['data["a.b"].c=null', '3'],
      ['data.yes=true', '3'],
      ['data=GBP', '4'],
      ['args.to=7', '7'],
      ['header.ce_source=web@1.41', '6,5,4,3,2,1'],
      ['key=k', '6,5,4,3,2,1'],
      ['data.__proto__', ''],
      ['data.toString', ''],
    ] as const) {
      assert.equal(await found(where), ids, where)
    }
    assert.equal(await byCli('--text', 'in stock'), '6')
    assert.equal(await byCli('--text', 'no PRICE', '--where', 'data.currency=GBP'), '1')
    const said = await cli.run(['dlq', 'search', '--where', 'data.currency=GBP'])
    assert.match(said.stderr, /^looked at 7; 2 carry no JSON there$/m)
    const paged = await cli.run(['dlq', 'search', '--text', 'price', '--look', '2'])
    assert.match(paged.stderr, /^more: --before 6$/m)
    assert.equal(await byCli('--text', 'price', '--before', '6', '-n', '2'), '5,4')
    for (const wrong of [
      'currency=GBP',
      'data..x=1',
      'data.a[x]',
      'data["\\x"]=1',
      'dataset=1',
      '',
    ]) {
      assert.throws(() => parseCondition(wrong), /expected a place and what it is to be/, wrong)
    }
    const refused = await cli.run(['dlq', 'search', '--where', 'currency=GBP'])
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, /--where: expected a place[^]*E_CLI_USAGE/)
    assert.equal((await cli.run(['dlq', 'search'])).code, 2)
  })
})
