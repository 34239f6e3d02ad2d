import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { it } from 'node:test'
import { orders } from '../../apps/shop/src/orders/app.ts'
import { ORDERS_SCHEMA } from '../../apps/shop/src/orders/schema.ts'
import { TILL_TOPIC } from '../../apps/shop/src/tills/till-record.ts'
import { assertHarmless, cliIn } from '../integration/cli/run-cli.ts'
import { testDatabase } from '../support/database.ts'
import { running } from '../support/millrace.ts'
import { eventually } from '../support/wait.ts'

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
  await pool.query(ORDERS_SCHEMA)
  const millrace = await running(t, {
    database: url,
    run: [orders],
    topics: { [TILL_TOPIC]: { partitions: 1 }, orders: { partitions: 1 } },
  })
  const purchase = { household: 'yogurt-15', category: 'yogurt', brand: 'dannon' }
  const written = [
    { receipt: 'R1-000391', ...purchase, price: '7.90 USD' },
    { receipt: 'R1-000392', ...purchase, price: 3 },
  ]
  await millrace.log.append(
    written.map((one) => ({
      topic: TILL_TOPIC,
      key: Buffer.from(purchase.household),
      value: Buffer.from(JSON.stringify(one)),
      headers: [],
    })),
  )
  const letter = await eventually(async () => {
    const { rows } = await pool.query<{ id: string; fingerprint: string }>(
      'select id::text, fingerprint from millrace.dead_letter',
    )
    return rows[0]
  })

  const cli = await cliIn(t, url)
  const told = await commands()
  assert.equal(told.length, 10)
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
  const [groups, sample, got, , difference, , dry, replay, after, audit] = shown
  assert.match(String(groups), new RegExp(letter?.fingerprint ?? '?'))
  assert.match(String(sample), /data\.price/)
  assert.match(String(got), /"price":"7\.90 USD"/)
  assert.match(String(difference), /^- +"price": "7\.90 USD",?\n\+ +"price": 7\.9,?$/m)
  assert.match(String(dry), /"dryRun":true,"state":"finished".*"passed":"1"/)
  assert.match(String(replay), /"dryRun":false,"state":"finished".*"passed":"1"/)
  assert.match(String(after), /replayed[\s\S]*7\.90 USD[\s\S]*edit 1/)
  assert.match(String(audit), /price mended/)
  const { rows } = await pool.query(
    'select order_id as receipt, total_cents as cents from shop_orders.placed_order order by order_id',
  )
  assert.deepEqual(rows, [
    { receipt: 'R1-000391', cents: 790 },
    { receipt: 'R1-000392', cents: 300 },
  ])
})
