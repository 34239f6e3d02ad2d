import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
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
import { kafkajsConsume, kafkajsProduce } from '../../support/kafkajs-peer.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

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

  it('is written for other clients, who read where a record failed and why', async (t) => {
    const { brokers } = await sharedKafka()
    const log = await kafkaLog(t, { brokers })
    const id = randomBytes(6).toString('hex')
    const orders = `orders-${id}`
    const name = `billing-${id}`
    for (const topic of [orders, `${name}.dead`]) {
      await log.createTopic(topic, { partitions: 1 })
      cleanup(t, () => log.deleteTopic(topic))
    }
    const ordered = event('ORDERED', { source: 'S', topic: orders, schema: z.object({}) })
    const billing = application(name, { exportDeadLetters: true }).on(
      ordered,
      inTransaction(() => {
        throw permanent('no price')
      }),
    )
    const { url, pool } = await testDatabase(t)
    const millrace = await running(t, { database: url, log: kafka({ brokers }), run: [billing] })
    await millrace.publishMany(ordered, [{}, {}, {}])
    const copies = await kafkajsConsume(t, brokers, `${name}.dead`, 3)
    assert.deepEqual(
      copies.map(({ headers = {}, value }) => [
        String(headers['source_topic']),
        String(headers['source_offset']),
        String(headers['kafka_dlt-exception-message']),
        (headers['kafka_dlt-original-partition'] as Buffer).readInt32BE(),
        String(value),
      ]),
      ['0', '1', '2'].map((offset) => [orders, offset, 'no price', 0, '{}']),
    )
    await eventually(async () => {
      const letters = await listDeadLetters(pool)
      return letters.length === 3 && letters.every(({ exported }) => exported === 'done')
    })
  })
})
