import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  ResourcePatternTypes,
  ResourceTypes,
  type Acl,
} from '@platformatic/kafka'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { start } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { pauseConsumers, resumeConsumers } from '../../../src/consumer/pause-consumers.ts'
import { readDueExports } from '../../../src/dead-letter/due-exports.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { foreign } from '../../../src/events/foreign.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import type { ReadResult } from '../../../src/log/port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { readToEnd, values } from '../../support/kafka-reading.ts'
import { testKafka, type Kafka } from '../../support/kafka.ts'
import { keepingLogger } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const login = (username: string) =>
  ({ mechanism: 'PLAIN', username, password: `of ${username}` }) as const

const USERS = { owner: 'of owner', reader: 'of reader' }

/** A broker that asks who may do what; `owner` may do everything. */
function guardedKafka(t: TestContext): Promise<Kafka> {
  return testKafka(t, {
    sasl: { mechanisms: ['PLAIN'], users: USERS },
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // The brokers among themselves have no name.
      'super.users': 'User:owner;User:ANONYMOUS',
    },
  })
}

function access(
  resourceName: string,
  operation: Acl['operation'],
  permissionType: Acl['permissionType'] = AclPermissionTypes.ALLOW,
): Acl {
  return {
    resourceType: ResourceTypes.TOPIC,
    resourceName,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: 'User:reader',
    host: '*',
    operation,
    permissionType,
  }
}

function ownersAdmin(t: TestContext, brokers: readonly string[]): Admin {
  const admin = new Admin({
    clientId: 'admin',
    bootstrapBrokers: [...brokers],
    sasl: login('owner'),
  })
  cleanup(t, async () => admin.close())
  return admin
}

test('a topic that an application may not look at any more keeps it from no other', async (t) => {
  const cluster = await guardedKafka(t)
  const owner = await kafkaLog(t, cluster, { sasl: login('owner') })
  for (const name of ['closed', 'open']) await owner.createTopic(name, { partitions: 2 })
  const admin = ownersAdmin(t, cluster.brokers)
  const mayRead = access('closed', AclOperations.READ)
  await admin.createAcls({ creations: [mayRead, access('open', AclOperations.READ)] })
  const { url } = await testDatabase(t)
  const logger = keepingLogger()
  const handled: string[] = []
  const remember = (topic: string) =>
    inTransaction<ReceivedEvent<string, { n: number }>>(async ({ data }) => {
      handled.push(`${topic} ${data.n}`)
    })
  const sale = (topic: string) => foreign(topic, { schema: z.object({ n: z.int() }) })
  const both = application('both')
    .on(sale('closed'), remember('closed'))
    .on(sale('open'), remember('open'))
  const millrace = await start({
    database: url,
    log: kafka({ brokers: cluster.brokers, sasl: login('reader') }),
    run: [both],
    logger,
    takeOverMs: 3_000,
    heartbeatMs: 200,
  })
  cleanup(t, () => millrace.stop())
  const sell = (topic: string, n: number) =>
    owner.append([{ topic, key: null, value: Buffer.from(JSON.stringify({ n })), headers: [] }])
  await sell('open', 1)
  await sell('closed', 1)
  await eventually(() => handled.length === 2)

  await admin.deleteAcls({ filters: [mayRead] })
  const said = (): readonly unknown[] =>
    logger.lines
      .filter(({ message }) => message.includes('cannot be asked about a topic'))
      .map(({ fields }) => fields['topic'])
  await eventually(() => said().length > 0)
  // What an operator does to the topic that can be read is carried out meanwhile.
  const operator = await connectOperator({ database: url, user: 'ana' })
  cleanup(t, () => operator.close())
  await pauseConsumers(operator, { application: 'both' }, { reason: 'to see' })
  await eventually(async () => {
    const { rows } = await millrace.database.query(
      'select from millrace.position where owner is not null',
    )
    return rows.length === 0
  })
  await sell('open', 2)
  await sell('closed', 2)
  await resumeConsumers(operator, { application: 'both' })
  await eventually(() => handled.includes('open 2'))
  // Said once, by name, and not with every look.
  assert.deepEqual(said(), ['closed'])

  await admin.createAcls({ creations: [mayRead] })
  await eventually(() => handled.includes('closed 2'))
})

test('a topic that may not be read any more is not taken for one that is gone', async (t) => {
  const cluster = await guardedKafka(t)
  const owner = await kafkaLog(t, cluster, { sasl: login('owner') })
  const topic = await owner.createTopic('guarded', { partitions: 1 })
  await owner.append([{ topic: 'guarded', key: null, value: Buffer.from('x'), headers: [] }])
  const admin = ownersAdmin(t, cluster.brokers)
  const mayRead = access('guarded', AclOperations.READ)
  await admin.createAcls({ creations: [mayRead] })

  const log = await kafkaLog(t, cluster, { sasl: login('reader') })
  const request = { topic: 'guarded', topicId: topic.id, partition: 0 }
  let offset = 0n
  const look = async (): Promise<ReadResult | undefined> => {
    const [result] = await log.read([{ ...request, offset }], { wait: false })
    assert.equal(result?.outOfRange, undefined)
    offset = result?.nextOffset ?? offset
    return result
  }
  await eventually(async () => (await look())?.records.length === 1)

  await admin.deleteAcls({ filters: [mayRead] })
  const reason = await eventually(async () => (await look())?.unavailable)
  assert.match(reason ?? '', /TOPIC_AUTHORIZATION_FAILED/)
  await assert.rejects(log.topic('guarded'), {
    code: 'E_LOG_REFUSED',
    message: /guarded.*TOPIC_AUTHORIZATION_FAILED/,
  })
  await assert.rejects(
    log.append([{ topic: 'guarded', key: null, value: Buffer.from('y'), headers: [] }]),
    { code: 'E_LOG_REFUSED' },
  )

  await owner.append([{ topic: 'guarded', key: null, value: Buffer.from('z'), headers: [] }])
  await admin.createAcls({ creations: [mayRead] })
  await eventually(async () => (await look())?.records.length === 1)
})

test('dead letters that may not be copied wait in the database over restarts, and the application goes on', async (t) => {
  const cluster = await guardedKafka(t)
  const owner = await kafkaLog(t, cluster, { sasl: login('owner') })
  await owner.createTopic('orders', { partitions: 2 })
  const admin = ownersAdmin(t, cluster.brokers)
  await admin.createAcls({ creations: [access('orders', AclOperations.READ)] })
  const { url, pool } = await testDatabase(t)
  const handled: number[] = []
  const handle = inTransaction<ReceivedEvent<string, { n: number }>>(async ({ data: { n } }) => {
    if (n % 2 === 1) throw permanent('no price')
    handled.push(n)
  })
  const billing = application('billing', { exportDeadLetters: true }).on(
    foreign('orders', { schema: z.object({ n: z.int() }) }),
    handle,
  )
  const logger = keepingLogger()
  const run = () =>
    start({
      database: url,
      log: kafka({ brokers: cluster.brokers, sasl: login('reader'), deliveryTimeoutMs: 2_000 }),
      run: [billing],
      logger,
      takeOverMs: 3_000,
      heartbeatMs: 200,
    })
  /** A record that is handled and one that becomes a dead letter; gives the number of the latter. */
  let last = 0
  const sell = async (): Promise<number> => {
    last += 2
    const numbers = [last, last + 1]
    await owner.append(
      numbers.map((n) => ({
        topic: 'orders',
        key: null,
        value: Buffer.from(JSON.stringify({ n })),
        headers: [],
      })),
    )
    await eventually(() => handled.includes(last))
    await eventually(async () => {
      const { rows } = await pool.query(
        `select from millrace.dead_letter where convert_from(value, 'UTF8') = $1`,
        [JSON.stringify({ n: last + 1 })],
      )
      return rows.length === 1
    })
    return last + 1
  }
  const copies = async (): Promise<number[]> => {
    const topic = await owner.topic('billing.dead')
    if (topic === undefined) return []
    const parts = Array.from({ length: topic.partitions }, (_, one) =>
      readToEnd(owner, topic, 0n, one),
    )
    return (await Promise.all(parts))
      .flatMap(({ records }) => values(records))
      .map((text) => (JSON.parse(text) as { n: number }).n)
      .sort((a, b) => a - b)
  }
  const due = async (): Promise<number | undefined> => (await readDueExports(pool))[0]?.due
  const said = (text: string): number =>
    logger.lines.filter(({ level, message }) => level === 'warn' && message.includes(text)).length

  // It may not even look at the topic, which nobody has made.
  let millrace = await run()
  cleanup(t, () => millrace.stop())
  const restart = async (): Promise<void> => {
    await millrace.stop()
    millrace = await run()
  }
  const first = [await sell(), await sell()]
  await restart()
  assert.equal(said('copies of dead letters could not be made'), 2)
  first.push(await sell())
  assert.equal(await due(), 3)
  const mayCopy = [AclOperations.CREATE, AclOperations.WRITE].map((one) =>
    access('billing.dead', one),
  )
  await admin.createAcls({ creations: mayCopy })
  await eventually(async () => (await due()) === 0)
  assert.deepEqual(await copies(), first)

  // The topic is there, and it may not write to it.
  const mayNot = access('billing.dead', AclOperations.WRITE, AclPermissionTypes.DENY)
  await admin.createAcls({ creations: [mayNot] })
  const later: number[] = []
  const before = said('could not be copied just now')
  // Some may still be copied until every part of the broker knows.
  while (said('could not be copied just now') === before) later.push(await sell())
  await restart()
  later.push(await sell())
  const waiting = await due()
  assert.ok(waiting !== undefined && waiting >= 2, `${waiting} wait`)
  await admin.deleteAcls({ filters: [mayNot] })
  await eventually(async () => (await due()) === 0)
  assert.deepEqual(await copies(), [...first, ...later])

  // Somebody deletes it.
  await owner.deleteTopic('billing.dead')
  const afresh = [await sell(), await sell()]
  await eventually(async () => (await due()) === 0)
  assert.deepEqual(await copies(), afresh)
})
