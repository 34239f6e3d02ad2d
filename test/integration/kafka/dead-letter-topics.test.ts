import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { application } from '../../../src/consumer/application.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import {
  CONNECT_HEADERS,
  KARAFKA_HEADERS,
  SPRING_HEADERS,
} from '../../support/foreign-dead-letters.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { kafkajsProduce } from '../../support/kafkajs-peer.ts'
import { running, settled } from '../../support/millrace.ts'

describe('a dead-letter topic on Kafka', () => {
  it('is taken in with the cluster it is of', async (t) => {
    const { brokers } = await sharedKafka()
    const log = await kafkaLog(t, { brokers })
    const topic = `orders-${randomBytes(6).toString('hex')}.DLT`
    await log.createTopic(topic, { partitions: 2 })
    cleanup(t, () => log.deleteTopic(topic))
    await kafkajsProduce(
      brokers,
      topic,
      [SPRING_HEADERS, CONNECT_HEADERS, KARAFKA_HEADERS].map((headers) => ({
        key: 'k',
        value: 'not JSON',
        headers: Object.fromEntries(headers.map(([name, value]) => [name, value as Buffer])),
      })),
    )
    const { url, pool } = await testDatabase(t)
    const millrace = await running(t, {
      database: url,
      log: kafka({ brokers }),
      run: [application('billing', { deadLetterTopics: [topic] })],
    })
    await settled(millrace)
    const letters = (await listDeadLetters(pool)).reverse()
    assert.deepEqual(
      letters.map(
        (letter) => `${letter.topic} ${letter.partition} ${letter.offset} ${letter.attempts}`,
      ),
      ['orders 5 4294967298 3', 'orders 0 42 1', 'orders 12 99 4'],
    )
    for (const { cluster, trace } of letters) {
      assert.match(cluster ?? '', /^[\w-]{22}$/)
      assert.equal(trace.takenFrom?.topic, topic)
    }
  })
})
