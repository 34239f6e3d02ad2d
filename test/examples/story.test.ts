import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import { event } from '../../src/events/event.ts'
import { assertHarmless, cliIn } from '../integration/cli/run-cli.ts'
import { testDatabase } from '../support/database.ts'
import { running } from '../support/millrace.ts'
import { eventually } from '../support/wait.ts'

const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({ orderId: z.string(), itemId: z.string(), priceCents: z.int() }),
})

/** The commands of the story, each as its words. */
async function commands(): Promise<string[][]> {
  const text = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const block = /<!-- story -->\n```sh\n([\s\S]*?)```/.exec(text)?.[1] ?? ''
  return block
    .trim()
    .split('\n')
    .map((line) => {
      const words = [...line.replace(/\s+# .*$/, '').matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)]
      return words.map(([, single, double, plain]) => single ?? double ?? plain ?? '')
    })
}

it('the story of one poison record goes as the README tells it', async (t) => {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table revenue (cents int)')
  const revenue = application('revenue').on(
    itemSold,
    inTransaction(async ({ data }, { tx }) => {
      await tx.query('insert into revenue (cents) values ($1)', [data.priceCents])
    }),
  )
  const millrace = await running(t, { database: url, run: [revenue] })
  const value = Buffer.from('{"orderId":"o-2","itemId":"yogurt","priceCents":"7,90"}')
  const headers = Object.entries({
    ce_specversion: '1.0',
    ce_id: 'till-7-4711',
    ce_source: 'TILL',
    ce_type: 'ITEM_SOLD',
  }).map(([name, text]) => [name, Buffer.from(text)] as const)
  await millrace.log.append([{ topic: 'orders', key: null, value, headers }])
  await millrace.publish(itemSold, { orderId: 'o-3', itemId: 'bread', priceCents: 300 })
  const letter = await eventually(async () => {
    const { rows } = await pool.query<{ id: string; fingerprint: string }>(
      'select id::text, fingerprint from millrace.dead_letter',
    )
    return rows[0]
  })

  const cli = await cliIn(t, url)
  const told = await commands()
  assert.equal(told.length, 9)
  const shown: string[] = []
  for (const [npx, name, ...words] of told) {
    assert.deepEqual([npx, name], ['npx', 'millrace'])
    const args = words.map((word) =>
      word
        .replaceAll('<group>', letter?.fingerprint ?? '')
        .replaceAll('<number>', letter?.id ?? ''),
    )
    const { code, stdout, stderr } = await cli.run(args)
    assert.equal(code, 0, `millrace ${args.join(' ')}: ${stderr}`)
    assertHarmless(stdout)
    shown.push(stdout)
  }
  const [groups, sample, got, , edit, dry, replay, after, audit] = shown
  assert.match(String(groups), new RegExp(letter?.fingerprint ?? '?'))
  assert.match(String(sample), /priceCents/)
  assert.match(String(got), /priceCents[\s\S]*7,90/)
  assert.match(String(edit), /790/)
  assert.match(String(dry), /"dryRun":true,"state":"finished".*"passed":"1"/)
  assert.match(String(replay), /"dryRun":false,"state":"finished".*"passed":"1"/)
  assert.match(String(after), /replayed[\s\S]*7,90[\s\S]*edit 1/)
  assert.match(String(audit), /price mended/)
  const { rows } = await pool.query('select cents from revenue order by cents')
  assert.deepEqual(rows, [{ cents: 300 }, { cents: 790 }])
})
