import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  ResourcePatternTypes,
  ResourceTypes,
  type Acl,
} from '@platformatic/kafka'
import type { ReadResult } from '../../../src/log/port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { testKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

const login = (username: string) =>
  ({ mechanism: 'PLAIN', username, password: `of ${username}` }) as const

test('a topic that may not be read any more is not taken for one that is gone', async (t) => {
  const users = { owner: 'of owner', reader: 'of reader' }
  const cluster = await testKafka(t, {
    sasl: { mechanisms: ['PLAIN'], users },
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // The brokers among themselves have no name.
      'super.users': 'User:owner;User:ANONYMOUS',
    },
  })
  const owner = await kafkaLog(t, cluster, { sasl: login('owner') })
  const topic = await owner.createTopic('guarded', { partitions: 1 })
  await owner.append([{ topic: 'guarded', key: null, value: Buffer.from('x'), headers: [] }])
  const admin = new Admin({
    clientId: 'admin',
    bootstrapBrokers: [...cluster.brokers],
    sasl: login('owner'),
  })
  cleanup(t, async () => admin.close())
  const mayRead: Acl = {
    resourceType: ResourceTypes.TOPIC,
    resourceName: 'guarded',
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: 'User:reader',
    host: '*',
    operation: AclOperations.READ,
    permissionType: AclPermissionTypes.ALLOW,
  }
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
