import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assertHarmless, cliWithDatabase } from './run-cli.ts'

const CURSOR =
  '{"v":1,"offset":"9","hash":"aa","database":"1/2","appendedAt":"2026-11-23T00:00:00.000Z"}'

describe('millrace outbox status', () => {
  it('shows each shard, what waits in it and why', async (t) => {
    const cli = await cliWithDatabase(t)
    const fresh = await cli.run(['outbox', 'status', '--columns', 'shard,state,waiting,relayed'])
    assert.equal(
      fresh.stdout,
      `shard  state    waiting  relayed\n${[0, 1, 2, 3].map((i) => `    ${i}  unowned        0        -\n`).join('')}`,
    )
    assert.match(fresh.stderr, /Nothing was ever put into this outbox/)
    await cli.pool.query(
      `select millrace.outbox_append('{0,0}', '{a,a}', '{NULL,NULL}', '{NULL,NULL}', '{x,x}', '{x,x}', '{NULL,NULL}');
       update millrace.outbox_shard set halted = E'odd \\u001b[2J reason', cursor = '' where shard = 0`,
    )
    const text = await cli.run(['outbox', 'status'])
    assertHarmless(text.stdout)
    assert.equal(text.stderr, '')
    const json = await cli.run(['outbox', 'status', '--json'])
    const { items } = JSON.parse(json.stdout) as { items: Record<string, unknown>[] }
    const [first] = items
    assert.deepEqual(
      [first?.['shard'], first?.['state'], first?.['waiting'], first?.['last']],
      [0, 'halted', 2, '2'],
    )
  })
})

describe('millrace outbox accept', () => {
  it('wants to know which shards, and takes only halted ones', async (t) => {
    const cli = await cliWithDatabase(t)
    assert.equal((await cli.run(['outbox', 'accept'])).code, 2)
    assert.equal((await cli.run(['outbox', 'accept', '0', '--all'])).code, 2)
    assert.equal((await cli.run(['outbox', 'accept', 'x'])).code, 2)
    assert.equal((await cli.run(['outbox', 'accept', '--all', '--behind', 'here'])).code, 2)
    const refused = await cli.run(['outbox', 'accept', '0', '1'])
    assert.equal(refused.code, 5)
    assert.match(refused.stderr, /not stopped: 0, 1/)
    const none = await cli.run(['outbox', 'accept', '--all'])
    assert.match(none.stderr, /none is stopped/)
  })

  it('orders them to go on, and keeps who did it; a dry run does neither', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `update millrace.outbox_shard set halted = 'a reason', cursor = '${CURSOR}' where shard < 2;
       ${append(1, 8)}`,
    )
    const dry = await cli.run(['outbox', 'accept', '--all', '--dry-run', '--json'])
    assert.deepEqual(JSON.parse(dry.stdout), {
      dryRun: true,
      accepted: [
        { shard: 0, behind: null, leftOut: 0, stopped: 'a reason' },
        { shard: 1, behind: null, leftOut: 0, stopped: 'a reason' },
      ],
    })
    const accepted = async (): Promise<unknown[]> => {
      const { rows } = await cli.pool.query(
        `select shard, accepted, accepted_behind as behind from millrace.outbox_shard
         where accepted is not null order by shard`,
      )
      return rows
    }
    assert.deepEqual(await accepted(), [])
    const done = await cli.run([
      'outbox',
      'accept',
      '1',
      '--behind',
      '7',
      '--user',
      'ana',
      '--reason',
      'restored',
    ])
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stderr, /accepted: 1 behind 7 \(7 records are left out\)/)
    assert.deepEqual(await accepted(), [{ shard: 1, accepted: CURSOR, behind: '7' }])
    const { rows } = await cli.pool.query(
      'select operator, action, count, reason, detail from millrace.operator_action',
    )
    const detail = [{ shard: 1, behind: '7', leftOut: 7, stopped: 'a reason' }]
    assert.deepEqual(rows, [
      { operator: 'ana', action: 'outbox.accept', count: '1', reason: 'restored', detail },
    ])
  })

  it('leaves out nothing that is still to be published', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `update millrace.outbox_shard set halted = 'a reason', cursor = '${CURSOR}' where shard = 1;
       ${append(1, 8)}`,
    )
    const accept = (...args: string[]) => cli.run(['outbox', 'accept', '1', '--behind', ...args])
    for (const dryRun of [[], ['--dry-run']]) {
      const refused = await accept('9', ...dryRun)
      assert.equal(refused.code, 1)
      assert.match(refused.stderr, /E_OUTBOX_STATE/)
      assert.match(refused.stderr, /shard 1 .*9.*next/s)
    }
    const client = await cli.pool.connect()
    try {
      // Draws 9, and then another draws 10 and is there first.
      await client.query(`begin; ${append(1, 1)}`)
      await cli.pool.query(append(1, 1))
      const early = await accept('10')
      assert.equal(early.code, 1)
      assert.match(early.stderr, /a transaction that is open/)
      await client.query('commit')
    } finally {
      client.release()
    }
    const dry = await accept('10', '--dry-run', '--json')
    assert.deepEqual(JSON.parse(dry.stdout), {
      dryRun: true,
      accepted: [{ shard: 1, behind: '10', leftOut: 10, stopped: 'a reason' }],
    })
    const { rows } = await cli.pool.query(
      `select 1 from millrace.outbox_shard where accepted is not null
       union all select 1 from millrace.operator_action`,
    )
    assert.deepEqual(rows, [])
  })
})

/** A statement that writes records into a shard. */
function append(shard: number, count: number): string {
  const of = (text: string): string => `'{${Array.from({ length: count }, () => text).join(',')}}'`
  return `select millrace.outbox_append(${of(String(shard))}, ${of('a')}, ${of('NULL')}, ${of('NULL')}, ${of('x')}, ${of('x')}, ${of('NULL')})`
}
