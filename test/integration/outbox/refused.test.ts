import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  ResourcePatternTypes,
  ResourceTypes,
  type Acl,
} from '@platformatic/kafka'
import { z } from 'zod'
import { event, type EventDefinition } from '../../../src/events/event.ts'
import { createCore } from '../../../src/core/core.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { acceptOutbox, listOutbox, type OutboxShard } from '../../../src/outbox/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { createTopicWith } from '../../support/kafka-topics.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka, testKafka } from '../../support/kafka.ts'
import { onKafka, readCommitted, relayed } from '../../support/outbox.ts'
import { eventually } from '../../support/wait.ts'
import { cliIn } from '../cli/run-cli.ts'

interface Noted {
  readonly n: number
}

function noted(topic: string): EventDefinition<string, Noted, Noted> {
  return event('NOTED', {
    source: 'TEST',
    topic,
    schema: z.object({ n: z.int() }),
    key: ({ n }) => `key-${n % 3}`,
  })
}

const ONE_SHARD = { outboxShards: 1, queues: false, upkeep: false } as const

describe('a record that the log refuses', () => {
  it('stops its shard by name, behind what came before it, and is left out when an operator says so', async (t) => {
    const { brokers } = await sharedKafka()
    const { url, pool } = await testDatabase(t)
    const [plain, compacted] = [`plain-${randomUUID()}`, `compacted-${randomUUID()}`]
    await createCompacted(brokers, compacted)
    const topics = { [plain]: { partitions: 2 } }
    const first = await onKafka(t, brokers, { database: url, topics, ...ONE_SHARD })
    const id = await first.millrace.transaction(async (tx) => {
      for (let n = 1; n <= 20; n += 1) await tx.publish(noted(plain), { n })
      await tx.publish(noted(compacted), { n: 21 })
      // Compaction goes by keys.
      const refused = await tx.publish(noted(compacted), { n: 22 }, { key: null })
      await tx.publish(noted(compacted), { n: 23 })
      for (let n = 24; n <= 40; n += 1) await tx.publish(noted(plain), { n })
      return refused
    })
    const seen = async (topic: string): Promise<Map<string | null, number[]>> => {
      const records = await readCommitted(brokers, topic)
      const byKey = Map.groupBy(records, ({ key }) => key)
      return new Map(
        [...byKey].map(([key, some]) => [
          key,
          some.map(({ value }) => (JSON.parse(value ?? 'null') as Noted).n),
        ]),
      )
    }
    const range = (from: number, to: number): number[] =>
      Array.from({ length: to - from + 1 }, (_, i) => from + i)
    const byKey = (numbers: readonly number[]): Map<string | null, number[]> =>
      new Map(Map.groupBy(numbers, (n) => `key-${n % 3}`))
    const halted = (): Promise<OutboxShard> =>
      eventually(async () => {
        const shards = await listOutbox(pool)
        return shards.find(({ state, accepted }) => state === 'halted' && !accepted)
      }) as Promise<OutboxShard>

    const { reason, waiting, relayed: before, shard } = await halted()
    const { rows } = await pool.query<{ offset: string }>(
      `select "offset" from millrace.outbox_record where key is null`,
    )
    const offset = rows[0]?.offset ?? ''
    for (const word of [offset, compacted, id]) assert.ok(reason?.includes(word), reason ?? '')
    assert.equal(waiting, 19)
    assert.equal(before, BigInt(offset) - 1n)
    assert.deepEqual(await seen(plain), byKey(range(1, 20)))
    assert.deepEqual(await seen(compacted), byKey([21]))
    const stops = first.lines.filter(({ level }) => level === 'error')
    assert.equal(stops.length, 1, JSON.stringify(stops))

    // Whoever takes the shard over does not try it again; it is told to, and then once.
    await first.millrace.stop()
    const second = await onKafka(t, brokers, { database: url, ...ONE_SHARD })
    await eventually(async () => (await halted()).owner !== null)
    const cli = await cliIn(t, url)
    const again = await cli.run(['outbox', 'accept', '--all'])
    assert.equal(again.code, 0, again.stderr)
    await eventually(() => second.lines.some(({ level }) => level === 'error'))
    assert.equal((await halted()).reason, reason)

    const early = await cli.run(['outbox', 'accept', '--all', '--behind', String(before)])
    assert.equal(early.code, 1)
    assert.match(early.stderr, new RegExp(`record ${offset}, which the log refuses`))
    const behind = ['--behind', offset, '--user', 'ana']
    const accepted = await cli.run(['outbox', 'accept', String(shard), ...behind])
    assert.equal(accepted.code, 0, accepted.stderr)
    assert.match(accepted.stderr, /1 record is left out/)
    await relayed(second.millrace)
    assert.deepEqual(await seen(plain), byKey([...range(1, 20), ...range(24, 40)]))
    assert.deepEqual(await seen(compacted), byKey([21, 23]))
    const { rows: actions } = await pool.query<{ detail: unknown }>(
      `select detail from millrace.operator_action where operator = 'ana'`,
    )
    const detail = [{ shard, behind: offset, leftOut: 1, stopped: reason }]
    assert.deepEqual(actions, [{ detail }])
    assert.deepEqual(
      (await listOutbox(pool)).map(({ state }) => state),
      ['relaying'],
    )
  })

  it('stops its shard where we may not write, and goes on when we may and an operator says so', async (t) => {
    const users = { owner: 'of owner', writer: 'of writer' }
    const cluster = await testKafka(t, {
      sasl: { mechanisms: ['PLAIN'], users },
      properties: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        // The brokers among themselves have no name.
        'super.users': 'User:owner;User:ANONYMOUS',
      },
    })
    const login = (username: string) =>
      ({ mechanism: 'PLAIN', username, password: `of ${username}` }) as const
    const { brokers } = cluster
    const admin = new Admin({
      clientId: 'test',
      bootstrapBrokers: [...brokers],
      sasl: login('owner'),
    })
    cleanup(t, async () => admin.close())
    const allow = (
      resourceType: Acl['resourceType'],
      name: string,
      operation: Acl['operation'],
    ) => ({
      resourceType,
      resourceName: name,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: 'User:writer',
      host: '*',
      operation,
      permissionType: AclPermissionTypes.ALLOW,
    })
    const { CLUSTER, TOPIC, TRANSACTIONAL_ID } = ResourceTypes
    const owner = await kafkaLog(t, cluster, { sasl: login('owner') })
    for (const name of ['open', 'guarded']) await owner.createTopic(name, { partitions: 1 })
    const { url, pool } = await testDatabase(t)
    const make = await onKafka(t, brokers, {
      database: url,
      relay: false,
      ...ONE_SHARD,
      log: kafka({ brokers, sasl: login('owner') }),
    })
    await make.millrace.transaction(async (tx) => {
      for (let n = 1; n <= 3; n += 1) await tx.publish(noted('open'), { n })
      await tx.publish(noted('guarded'), { n: 4 })
      await tx.publish(noted('open'), { n: 5 })
    })
    await make.millrace.stop()
    await admin.createAcls({
      creations: [
        allow(CLUSTER, 'kafka-cluster', AclOperations.CREATE),
        allow(TRANSACTIONAL_ID, '*', AclOperations.ALL),
        allow(TOPIC, 'open', AclOperations.ALL),
        allow(TOPIC, 'guarded', AclOperations.DESCRIBE),
      ],
    })
    await pool.query(`insert into millrace.outbox_identity (id) values ($1)`, [randomUUID()])
    const { rows: ids } = await pool.query<{ id: string }>(
      'select id from millrace.outbox_identity',
    )
    const cursors = `millrace.outbox.${ids[0]?.id}`
    await admin.createAcls({ creations: [allow(TOPIC, cursors, AclOperations.ALL)] })
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      ...ONE_SHARD,
      log: kafka({ brokers, sasl: login('writer') }),
    })
    const { reason } = (await eventually(async () =>
      (await listOutbox(pool)).find(({ state }) => state === 'halted'),
    )) as OutboxShard
    assert.match(reason ?? '', /refuses record \d+ \(topic 'guarded'.*TOPIC_AUTHORIZATION_FAILED/)
    const open = await owner.topic('open')
    const end = async (): Promise<number> => {
      const [result] = await owner.read([
        { topic: 'open', topicId: open?.id ?? '', partition: 0, offset: 0n },
      ])
      return result?.records.length ?? 0
    }
    await eventually(async () => (await end()) === 3)
    await admin.createAcls({ creations: [allow(TOPIC, 'guarded', AclOperations.ALL)] })
    await acceptOutbox({ core: createCore(), pool, user: 'test' }, [{ shard: 4, behind: null }])
    await relayed(millrace)
    await eventually(async () => (await end()) === 4)
  })

  it('is refused in its transaction when it is larger than Kafka takes, with key and headers', async (t) => {
    const { brokers } = await sharedKafka()
    const { url } = await testDatabase(t)
    const topic = `large-${randomUUID()}`
    const topics = { [topic]: { partitions: 1 } }
    const { millrace } = await onKafka(t, brokers, { database: url, topics, ...ONE_SHARD })
    const text = event('TEXT', { source: 'TEST', topic, schema: z.string(), key: () => 'key' })
    const limit = 1_048_588
    // A value of 1 MiB.
    const tooLarge = millrace.transaction((tx) => tx.publish(text, 'x'.repeat(1_048_574)))
    await assert.rejects(tooLarge, { code: 'E_EVENT_TOO_LARGE', message: /TEXT|large-/ })
    const append = (size: number): Promise<void> =>
      millrace.transaction((tx) => {
        const key = Buffer.from('key')
        return tx.append([{ topic, key, value: Buffer.alloc(size, 'x'), headers: [['a', key]] }])
      })
    const some = 1_048_540
    const bytes = await append(some).then(
      () => 0,
      (error: { details: { bytes: number } }) => error.details.bytes,
    )
    assert.ok(bytes > limit, String(bytes))
    const largest = some - (bytes - limit)
    await assert.rejects(append(largest + 1), { code: 'E_EVENT_TOO_LARGE' })
    await append(largest)
    await relayed(millrace)
    assert.deepEqual(
      (await readCommitted(brokers, topic)).map(({ value }) => value?.length),
      [largest],
    )
  })
})

function createCompacted(brokers: readonly string[], topic: string): Promise<void> {
  return createTopicWith(brokers, topic, { 'cleanup.policy': 'compact' })
}
