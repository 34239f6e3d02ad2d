import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, recordOf } from '../../support/dead-letters.ts'
import { cliIn, type Cli } from './run-cli.ts'

const COUNT = 350
const EDIT = ['dlq', 'edit', '--app', 'billing', '--where', 'data.currency=GBP']
const SINCE_340 = ['dlq', 'edit', '--app', 'billing', '--from', '340']
const EURO = ['--set', 'data.currency="EUR"']
const WHY = ['--reason', 'the till was set to pounds', '--user', 'ana']

/** Dead letters of 350 orders in pounds, and some that cannot be edited. */
async function bed(t: TestContext): Promise<Cli & { pool: pg.Pool }> {
  const { url, pool } = await testDatabase(t)
  await writeDeadLetters(pool, [
    ...Array.from({ length: COUNT }, (_, n) => deadLetter(n)),
    deadLetter(1_000, { record: recordOf('no JSON') }),
    deadLetter(1_001, { record: recordOf(null) }),
    deadLetter(1_002, { record: recordOf('[]') }),
    deadLetter(1_003, { record: recordOf(`{"x":"${'x'.repeat(1_048_576)}"}`) }),
    deadLetter(1_004, { record: recordOf('{"currency":"EUR"}') }),
    deadLetter(1_005, { application: 'other' }),
  ])
  return { ...(await cliIn(t, url)), pool }
}

/** How many dead letters there are of each current value's currency and revision, and that the originals are. */
async function currencies(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ kind: string; n: number }>(
    `select concat_ws(' ', convert_from(d.value, 'utf8')::json ->> 'currency', d.revision, convert_from(e.value, 'utf8')::json ->> 'currency') as kind,
       count(*)::int as n
     from millrace.dead_letter d left join millrace.dead_letter_edit e on e.dead_letter_id = d.id and e.revision = d.revision
     where d.application = 'billing' and d.id <= ${COUNT} group by 1`,
  )
  return Object.fromEntries(rows.map(({ kind, n }) => [kind, n]))
}

async function audit(pool: pg.Pool): Promise<unknown[]> {
  const { rows } = await pool.query(
    'select operator, action, filter, count::int, reason, detail from millrace.operator_action order by id',
  )
  return rows
}

const EDITED = { unchanged: 0, notJson: 0, noPlace: 0, tooLarge: 0, jobs: 0 }

describe('millrace dlq edit of many', () => {
  it('shows a few, edits all that fit, keeps the originals, and is in the audit', async (t) => {
    const cli = await bed(t)
    const dry = await cli.run([...EDIT, ...EURO, '--dry-run'])
    assert.equal(dry.code, 0, dry.stderr)
    assert.equal(dry.stdout.match(/^dead letter \d+$/gm)?.length, 3)
    assert.match(dry.stdout, /^- {3}"currency": "GBP"\n\+ {3}"currency": "EUR"$/m)
    assert.match(dry.stderr, /350 would be edited/)
    assert.deepEqual(await currencies(cli.pool), { 'GBP 0': COUNT })
    const unsure = await cli.run([...EDIT, ...EURO])
    assert.match(unsure.stderr, /would edit up to 350 dead letters/)
    const done = await cli.run([...EDIT, ...EURO, ...WHY, '--yes', '--json'])
    assert.deepEqual(JSON.parse(done.stdout), { dryRun: false, count: 350, edited: 350, ...EDITED })
    assert.deepEqual(await currencies(cli.pool), { 'GBP 1 EUR': COUNT })
    // Each transaction says what it did; of the values the audit has only the places.
    assert.deepEqual(
      await audit(cli.pool),
      [100, 100, 100, 50].map((count) => ({
        operator: 'ana',
        action: 'dlq.edit',
        filter: { application: 'billing', where: 'data.currency=GBP' },
        count,
        reason: 'the till was set to pounds',
        detail: { set: ['data.currency'], unset: [], ...EDITED },
      })),
    )
    const again = await cli.run([...EDIT, ...EURO, '--yes'])
    assert.match(again.stderr, /^0 edited\n350 left as they are: they are so already$/m)
    assert.equal((await audit(cli.pool)).length, 4)
  })

  it('counts what it leaves as it is, and edits only those of the selection', async (t) => {
    const cli = await bed(t)
    const run = await cli.run([
      ...SINCE_340,
      ...EURO,
      '--set',
      'data.currencyWas="GBP"',
      '--unset',
      'data.orderId',
      '--json',
    ])
    assert.deepEqual(JSON.parse(run.stdout), {
      ...EDITED,
      dryRun: false,
      count: 16,
      edited: 12,
      notJson: 2,
      noPlace: 1,
      tooLarge: 1,
    })
    const { rows } = await cli.pool.query<{ value: string }>(
      `select distinct convert_from(value, 'utf8') as value from millrace.dead_letter_edit`,
    )
    assert.deepEqual(rows, [{ value: '{"currency":"EUR","currencyWas":"GBP"}' }])
    const one = await cli.run(['dlq', 'edit', '7', '9', '--set', 'data.n=1'])
    assert.match(one.stderr, /^2 edited$/m)
    const none = await cli.run(['dlq', 'edit', '--app', 'nobody', '--set', 'data.n=1'])
    assert.match(none.stderr, /nothing to edit/)
  })

  it('goes on where it was ended, to the same values', async (t) => {
    const cli = await bed(t)
    await cli.pool.query(
      `create function pulled() returns trigger language plpgsql as $$ begin
         if (select count(*) from millrace.dead_letter_edit) >= 150 then raise 'the plug is pulled'; end if;
         return new;
       end $$`,
    )
    await cli.pool.query(
      'create trigger pulled before insert on millrace.dead_letter_edit for each row execute function pulled()',
    )
    const ended = await cli.run([...EDIT, ...EURO, ...WHY, '--yes'])
    assert.notEqual(ended.code, 0)
    assert.deepEqual(await currencies(cli.pool), { 'GBP 1 EUR': 100, 'GBP 0': 250 })
    const counts = async (): Promise<unknown[]> =>
      (await audit(cli.pool)).map((row) => (row as { count: unknown }).count)
    assert.deepEqual(await counts(), [100])
    await cli.pool.query('drop trigger pulled on millrace.dead_letter_edit')
    const rest = await cli.run([...EDIT, ...EURO, ...WHY, '--yes'])
    assert.match(rest.stderr, /^250 edited\n100 left as they are: they are so already$/m)
    assert.deepEqual(await currencies(cli.pool), { 'GBP 1 EUR': COUNT })
    assert.deepEqual(await counts(), [100, 100, 100, 50])
  })

  it('changes the value that a replay would hand over now, so an edit before it is kept', async (t) => {
    const cli = await bed(t)
    await cli.run(['dlq', 'edit', '5', '--value', '{"currency":"GBP","price":7}'])
    await cli.run(['dlq', 'edit', '5', ...EURO])
    const { rows } = await cli.pool.query<{ value: string }>(
      `select convert_from(value, 'utf8') as value from millrace.dead_letter_edit order by revision`,
    )
    assert.deepEqual(
      rows.map(({ value }) => value),
      ['{"currency":"GBP","price":7}', '{"currency":"EUR","price":7}'],
    )
  })

  it('refuses what it cannot mean', async (t) => {
    const cli = await bed(t)
    const refused: readonly (readonly [string[], RegExp])[] = [
      [['7', '--set', 'data.currency=EUR'], /'EUR' is no JSON; a text needs its quotes/],
      [['7', '--set', 'data.a=1', '--value', '{}'], /either the whole value of one, or --set/],
      [['7', '8', '--value', '{}'], /a whole value is for one dead letter/],
      [['--app', 'billing', '--value', '{}'], /a whole value is for one dead letter/],
      [['7'], /to what\?/],
      [['--set', 'data.a=1'], /which dead letters\?/],
    ]
    for (const [args, message] of refused) {
      const { code, stderr } = await cli.run(['dlq', 'edit', ...args])
      assert.equal(code, 2, stderr)
      assert.match(stderr, message)
    }
  })
})
