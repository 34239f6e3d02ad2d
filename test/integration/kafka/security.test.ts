import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Admin, type AdminOptions } from '@platformatic/kafka'
import { testKafka, type Kafka } from '../../support/kafka.ts'

const users = { alice: 'in wonder=land' }
type Login = NonNullable<AdminOptions['sasl']>

/** An unsecured JWT of somebody, as brokers in development take it. */
function token(expiresInSeconds: number): string {
  const now = Math.floor(performance.timeOrigin / 1000)
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: 'alice', iat: now - 60, exp: now + expiresInSeconds })}.`
}

/** The topics, as one client with these options sees them. */
async function topicsOf(kafka: Kafka, options: Partial<AdminOptions>): Promise<string[]> {
  const bootstrapBrokers = [...kafka.brokers]
  const admin = new Admin({ clientId: 'test', bootstrapBrokers, retries: 0, ...options })
  // A connection that has failed may fail once more when the broker closes it, and an error event that nobody listens to
  // ends the process.
  admin.connections.on('connecting', ({ connection }) => connection.on('error', () => {}))
  try {
    return await admin.listTopics()
  } finally {
    await admin.close()
  }
}

test('lets in who shows the right name and password, by PLAIN and SCRAM', async (t) => {
  const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const
  const kafka = await testKafka(t, { sasl: { mechanisms, users } })
  for (const mechanism of mechanisms) {
    const sasl: Login = { mechanism, username: 'alice', password: users.alice }
    assert.deepEqual(await topicsOf(kafka, { sasl }), [])
    await assert.rejects(topicsOf(kafka, { sasl: { ...sasl, password: 'wrong' } }))
    await assert.rejects(topicsOf(kafka, { sasl: { ...sasl, username: 'bob' } }))
  }
  await assert.rejects(topicsOf(kafka, { requestTimeout: 2_000 }))
})

test('lets in who shows a bearer token that has not expired', async (t) => {
  const kafka = await testKafka(t, { sasl: { mechanisms: ['OAUTHBEARER'] } })
  const sasl: Login = { mechanism: 'OAUTHBEARER', token: token(3_600) }
  assert.deepEqual(await topicsOf(kafka, { sasl }), [])
  await assert.rejects(topicsOf(kafka, { sasl: { ...sasl, token: token(-30) } }))
})

test('encrypts, with a certificate that only its own authority vouches for', async (t) => {
  const kafka = await testKafka(t, { tls: true })
  const { ca } = kafka.tls!
  assert.deepEqual(await topicsOf(kafka, { tls: { ca } }), [])
  await assert.rejects(topicsOf(kafka, { tls: {} }))
  await assert.rejects(topicsOf(kafka, { requestTimeout: 2_000 }))
})

test('lets in who shows a certificate, when both sides must', async (t) => {
  const kafka = await testKafka(t, { tls: { mutual: true } })
  const tls = kafka.tls!
  assert.deepEqual(await topicsOf(kafka, { tls }), [])
  await assert.rejects(topicsOf(kafka, { tls: { ca: tls.ca } }))
})

test('asks for a login inside the encryption, when it demands both', async (t) => {
  const kafka = await testKafka(t, { tls: true, sasl: { mechanisms: ['SCRAM-SHA-512'], users } })
  const tls = { ca: kafka.tls!.ca }
  const sasl: Login = { mechanism: 'SCRAM-SHA-512', username: 'alice', password: users.alice }
  assert.deepEqual(await topicsOf(kafka, { tls, sasl }), [])
  await assert.rejects(topicsOf(kafka, { tls, sasl: { ...sasl, password: 'wrong' } }))
})
