import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import { createCore } from '../../../src/core/core.ts'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import { kafka, type KafkaLogin, type KafkaOptions } from '../../../src/kafka/kafka.ts'
import { testKafka, type Kafka } from '../../support/kafka.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { eventually } from '../../support/wait.ts'

const password = 'open sesame=1'
const wrong = 'hunter2-is-wrong'
const users = { alice: password }
const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

/** An unsecured JWT of alice, as brokers in development take it. */
function token(expiresInSeconds: number): string {
  const now = Math.floor((performance.timeOrigin + performance.now()) / 1000)
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: 'alice', iat: now - 60, exp: now + expiresInSeconds })}.`
}

/** Writes one record and reads it back, with these options. */
async function roundTrip(
  t: TestContext,
  cluster: Kafka,
  topic: string,
  options: Partial<KafkaOptions>,
): Promise<void> {
  const log = await kafkaLog(t, cluster, options)
  const { id: topicId } = await log.createTopic(topic, { partitions: 1 })
  const value = Buffer.from(topic)
  await log.append([{ topic, key: null, value, headers: [] }])
  const [result] = await log.read([{ topicId, topic, partition: 0, offset: 0n }])
  assert.deepEqual(
    result?.records.map((record) => Buffer.from(record.value ?? []).toString()),
    [topic],
  )
}

/** The error of a log that cannot be opened; it says nothing that is secret, anywhere. */
async function refusal(
  cluster: Kafka,
  options: Partial<KafkaOptions>,
  secrets: readonly string[] = [],
): Promise<string> {
  const factory = kafka({ brokers: cluster.brokers, requestTimeoutMs: 2_000, ...options })
  let error: unknown
  try {
    // It needs no database.
    const log = await factory.open({ core: createCore(), pool: undefined as never })
    await log.close()
  } catch (reason) {
    error = reason
  }
  assert.ok(isMillraceError(error), 'it was let in')
  assert.equal(error.code, 'E_LOG_CONNECT')
  const all = inspect(error, { depth: 20, showHidden: true, getters: true })
  for (const secret of secrets) {
    for (const form of [secret, Buffer.from(secret).toString('base64')]) {
      assert.ok(!all.includes(form), `the error gives away a secret:\n${all}`)
    }
  }
  return error.message
}

describe('a broker that demands a login', () => {
  it('lets in who has the right one, and says why it refuses others', async (t) => {
    const cluster = await testKafka(t, {
      sasl: { mechanisms: [...mechanisms, 'OAUTHBEARER'], users },
    })
    for (const mechanism of mechanisms) {
      const sasl: KafkaLogin = { mechanism, username: 'alice', password }
      await roundTrip(t, cluster, `by-${mechanism}`, { sasl })
      const text = await refusal(cluster, { sasl: { ...sasl, password: wrong } }, [wrong])
      assert.match(
        text,
        new RegExp(`it refused the login by ${mechanism}: .*(password|credentials)`),
      )
      await refusal(cluster, { sasl: { ...sasl, username: 'mallory' } }, [password])
    }
    await roundTrip(t, cluster, 'by-token', {
      sasl: { mechanism: 'OAUTHBEARER', token: token(3_600) },
    })
    const expired = token(-30)
    const text = await refusal(cluster, { sasl: { mechanism: 'OAUTHBEARER', token: expired } }, [
      expired,
    ])
    assert.match(text, /it refused the login by OAUTHBEARER: invalid_token/)
    assert.match(await refusal(cluster, {}), /closed/)
  })

  it('is given a fresh secret with every connection, by the mechanism that it takes', async (t) => {
    const cluster = await testKafka(t, { sasl: { mechanisms: ['OAUTHBEARER'] } })
    let asked = 0
    const sasl: KafkaLogin = {
      mechanism: 'OAUTHBEARER',
      token: () => {
        asked += 1
        return token(3_600)
      },
    }
    const log = await kafkaLog(t, cluster, { sasl })
    await log.createTopic('fresh', { partitions: 1 })
    const before = asked
    assert.ok(before > 0)
    await cluster.nodes[0]!.kill9()
    await cluster.nodes[0]!.restart()
    const topics = await eventually(() => log.topics())
    assert.deepEqual(
      topics.map(({ name }) => name),
      ['fresh'],
    )
    assert.ok(asked > before)
    const other: KafkaLogin = { mechanism: 'PLAIN', username: 'alice', password }
    const text = await refusal(cluster, { sasl: other }, [password])
    assert.match(text, /it does not take logins by PLAIN, but by OAUTHBEARER/)
  })
})

describe('a broker with TLS', () => {
  it('is trusted by who knows its authority', async (t) => {
    const cluster = await testKafka(t, {
      tls: true,
      sasl: { mechanisms: ['SCRAM-SHA-512'], users },
    })
    const { ca } = cluster.tls!
    const sasl: KafkaLogin = { mechanism: 'SCRAM-SHA-512', username: 'alice', password }
    await roundTrip(t, cluster, 'encrypted', { tls: { ca }, sasl })
    assert.match(await refusal(cluster, { tls: true, sasl }, [password]), /certificate/)
    const text = await refusal(cluster, { tls: { ca }, sasl: { ...sasl, password: wrong } }, [
      wrong,
    ])
    assert.match(text, /it refused the login by SCRAM-SHA-512/)
    assert.match(await refusal(cluster, { sasl }, [password]), /perhaps it demands TLS/)
  })

  it('may ask for a certificate of the client', async (t) => {
    const cluster = await testKafka(t, { tls: { mutual: true } })
    const { ca, cert, key } = cluster.tls!
    await roundTrip(t, cluster, 'mutual', { tls: { ca, cert, key } })
    assert.match(await refusal(cluster, { tls: { ca } }, [key]), /certificate/)
  })

  it('is told from one without', async (t) => {
    const cluster = await testKafka(t)
    assert.match(await refusal(cluster, { tls: true }), /perhaps it does not speak TLS/)
  })
})
