import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { testDatabase } from '../support/database.ts'
import { testKafka } from '../support/kafka.ts'
import { kafkaLog } from '../support/kafka-log.ts'
import { readCommitted } from '../support/outbox.ts'
import { spawnNode } from '../support/process.ts'
import { eventually } from '../support/wait.ts'

const exampleFile = (name: string): URL => new URL(`../../examples/${name}.ts`, import.meta.url)
const readme = new URL('../../README.md', import.meta.url)

describe('the README', () => {
  for (const name of ['readme', 'kafka']) {
    it(`shows the example ${name} as it is`, async () => {
      const code = await readFile(exampleFile(name), 'utf8')
      const text = await readFile(readme, 'utf8')
      const fence = new RegExp(
        `(<!-- example: examples/${name}\\.ts -->\\n\`\`\`ts\\n)[\\s\\S]*?(\`\`\`\\n)`,
      )
      assert.match(text, fence)
      const current = text.replace(fence, (_, open: string, close: string) => open + code + close)
      if (process.env['MILLRACE_UPDATE'] === '1') await writeFile(readme, current)
      assert.equal(
        text,
        current,
        `README.md and examples/${name}.ts differ; MILLRACE_UPDATE=1 npm test -- readme mends it`,
      )
      assert.ok(code.trimEnd().split('\n').length <= 30)
    })
  }

  it('shows an example that does what it says', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table orders (id text); create table revenue (cents int)')
    const child = spawnNode(t, exampleFile('readme').pathname, { env: { DATABASE_URL: url } })
    await eventually(async () => (await pool.query('select from revenue')).rowCount === 1)
    await eventually(() => child.output.includes('receipt for o-1 36'))
    assert.deepEqual(
      (
        await pool.query(
          'select (select count(*)::int from orders) as orders, (select count(*)::int from millrace.record) as records',
        )
      ).rows,
      [{ orders: 1, records: 1 }],
    )
    child.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  })

  it('shows an example that says on stderr what goes wrong', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table orders (id text)')
    const child = spawnNode(t, exampleFile('readme').pathname, { env: { DATABASE_URL: url } })
    await eventually(() => child.output.includes('relation \\"revenue\\" does not exist'))
    child.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  })

  it('shows an example on Kafka that does what it says', async (t) => {
    const { url, pool } = await testDatabase(t)
    const { brokers } = await testKafka(t)
    await pool.query('create table price (item text, cents int)')
    const env = { DATABASE_URL: url, BROKERS: brokers.join(',') }
    const child = spawnNode(t, exampleFile('kafka').pathname, { env })
    const log = await kafkaLog(t, { brokers })
    await eventually(async () => (await log.topic('supplier-prices')) !== undefined)
    const value = Buffer.from(JSON.stringify({ item: 'yogurt', cents: 79 }))
    await log.append([{ topic: 'supplier-prices', key: null, value, headers: [] }])
    await eventually(async () => (await readCommitted(brokers, 'catalog')).length === 1)
    assert.deepEqual((await pool.query('select * from price')).rows, [
      { item: 'yogurt', cents: 79 },
    ])
    child.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  })

  it('makes the promise in its exact words', async () => {
    const text = await readFile(readme, 'utf8')
    for (const line of PROMISE) assert.ok(text.includes(`\n- ${line}\n`), line)
  })
})

const PROMISE = [
  'One job per event and handler.',
  "Effects written through the handler's transaction happen once.",
  'Effects outside the database happen at least once, always with the same key.',
  'Order per key, wherever a handler asks for it, through retries, hand-overs and deploys; a dead letter leaves the order, unless its key is held for it.',
  'No record leaves the log without a disposition per handler: done, made into jobs (parked records are jobs), filtered (and counted), or dead-lettered.',
  'When the log itself lies (truncated, recreated, expired), millrace stops that partition and says so; it never guesses.',
]
