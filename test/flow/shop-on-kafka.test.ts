import assert from 'node:assert/strict'
import { it } from 'node:test'
import { testDatabase } from '../support/database.ts'
import { testKafka } from '../support/kafka.ts'
import { readCommitted } from '../support/outbox.ts'
import { audit, auditFigures, type TopicReader } from './shop/audit.ts'
import { shopHome, startShop, workOff } from './shop/shop-process.ts'

it('makes the same of every purchase on Kafka, killed half-way', async (t) => {
  const home = await shopHome(t)
  const [database, kafka] = await Promise.all([testDatabase(t), testKafka(t)])
  const where = ['--database-url', database.url, '--kafka', kafka.brokers.join(',')]
  const killed = startShop(t, [...where, '--json', '--rate', '100'], { home })
  await killed.line(({ purchases, mails }) => purchases > 400 && mails > 50)
  killed.kill('SIGKILL')
  assert.deepEqual(await killed.exited, { code: null, signal: 'SIGKILL' })
  const second = startShop(t, [...where, '--json', '--rate', '100', '--for', '2s'], { home })
  assert.equal((await second.exited).code, 0, second.stderr)
  const last = await workOff(t, where, { home })
  const read: TopicReader = async (topic) =>
    (await readCommitted(kafka.brokers, topic)).map(({ value, headers }) => ({
      value: Buffer.from(value ?? ''),
      type: headers['ce_type'],
    }))
  const expected = await audit(database.pool, home, read)
  assert.ok(expected.purchases > 400)
  auditFigures(last, expected)
  const { rows } = await database.pool.query('select count(*)::int as n from millrace.record')
  assert.deepEqual(rows, [{ n: 0 }], 'nothing went into the table log')
})
