import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import type { KafkaOptions } from '../../tools/kafka/options.ts'
import { startKafka, type Kafka } from '../../tools/kafka/start.ts'
import { cleanup, type TestScope } from './cleanup.ts'

export type { Kafka } from '../../tools/kafka/start.ts'
export type { KafkaNode } from '../../tools/kafka/node.ts'

/** The broker of a run of tests: nobody may kill it, and tests keep apart by their topics' names. */
export interface SharedKafka {
  readonly brokers: readonly string[]
}

/**
 * One plain broker for all test files of a run, started when the first of them asks. With `MILLRACE_TEST_KAFKA` set to
 * `HOST:PORT`, the one there.
 */
export async function sharedKafka(): Promise<SharedKafka> {
  const place = process.env['MILLRACE_TEST_KAFKA']
  if (!place) {
    throw new Error('MILLRACE_TEST_KAFKA is not set: run this file with `npm test -- <its path>`')
  }
  const brokers = place.startsWith('http:') ? await ask(place) : place
  return { brokers: brokers.split(',') }
}

async function ask(url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  // A connection of its own, or the process would be kept alive by one that waits to be used again.
  const request = get(url, { agent: false }, (response) => {
    text(response).then(
      (body) => (response.statusCode === 200 ? resolve(body) : reject(new Error(body))),
      reject,
    )
  })
  request.once('error', reject)
  return promise
}

/** A cluster of this test alone, which may kill, pause and stop what it likes; stopped at the test's end. */
export async function testKafka(t: TestScope, options: KafkaOptions = {}): Promise<Kafka> {
  const kafka = await startKafka(options)
  cleanup(t, async () => kafka.stop())
  return kafka
}
