import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import type { MillraceError } from '../../../src/errors/millrace-error.ts'
import { kafka, type KafkaOptions } from '../../../src/kafka/kafka.ts'
import type { TestScope } from '../../support/cleanup.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { sharedKafka, type Kafka } from '../../support/kafka.ts'

/** The error of opening a log. */
async function refusal(
  t: TestScope,
  cluster: Pick<Kafka, 'brokers'>,
  options: Partial<KafkaOptions>,
): Promise<MillraceError> {
  try {
    await kafkaLog(t, cluster, options)
  } catch (error) {
    return error as MillraceError
  }
  throw new Error('it was let in')
}

test('brokers that do not answer are named, with what to do', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  const error = await refusal(t, { brokers: [`127.0.0.1:${port}`] }, {})
  assert.equal(error.code, 'E_LOG_CONNECT')
  assert.equal(error.retryable, true)
  assert.match(error.message, new RegExp(`127.0.0.1:${port}: connect ECONNREFUSED`))
  assert.match(error.message, /Check that they run, their addresses, TLS and the login/)
})

test('what is no broker is given up in time', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const error = await refusal(
    t,
    { brokers: [`127.0.0.1:${port}`] },
    { connectTimeoutMs: 500, requestTimeoutMs: 1_000 },
  )
  assert.equal(error.code, 'E_LOG_CONNECT')
})

test('wrong options are told all at once, and no password with them', () => {
  const wrong = {
    brokers: ['host:99999', 'user:geheim@host'],
    sasl: { mechanism: 'PLAIN', username: '', password: 5 },
    compression: 'zip',
    maxBufferedBytes: 1,
    replicationFactor: 0.5,
  } as unknown as KafkaOptions
  assert.throws(
    () => kafka(wrong),
    (error: MillraceError) => {
      assert.equal(error.code, 'E_CONFIG_INVALID')
      for (const option of [
        'brokers',
        'sasl.username',
        'sasl.password',
        'compression',
        'maxBufferedBytes',
        'replicationFactor',
      ]) {
        assert.ok(error.message.includes(`- ${option}: expected`), option)
      }
      assert.ok(!error.message.includes('geheim'), error.message)
      return true
    },
  )
})

test('a closed log leaves nothing behind that keeps its process alive', async () => {
  const { brokers } = await sharedKafka()
  const script = new URL('closing-scenario.ts', import.meta.url)
  const child = spawn(process.execPath, [script.pathname, brokers.join()], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [code] = (await once(child, 'close')) as [number | null]
  assert.deepEqual([code, output], [0, 'closed with nothing left: \n'])
})
