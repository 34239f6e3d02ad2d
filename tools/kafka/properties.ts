import { join } from 'node:path'
import type { KafkaOptions, SaslMechanism } from './options.ts'

/** The ports of one broker, all on 127.0.0.1. */
export interface Ports {
  readonly client: number
  /** The brokers among themselves, and we: without SASL or TLS, and never through a proxy. */
  readonly internal: number
  readonly controller: number
  /** What clients are told. */
  readonly advertised: number
}

export interface NodePlace {
  readonly id: number
  readonly directory: string
  /** Where the certificates are. */
  readonly tlsDirectory: string
}

/** The server.properties of one broker. */
export function serverProperties(
  node: NodePlace,
  all: readonly Ports[],
  options: KafkaOptions,
): string {
  const ports = all[node.id - 1] as Ports
  const voters = all.map(({ controller }, index) => `${index + 1}@127.0.0.1:${controller}`)
  const address = (name: string, port: number): string => `${name}://127.0.0.1:${port}`
  const internal = address('INTERNAL', ports.internal)
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': voters.join(),
    listeners: [
      address('CLIENT', ports.client),
      internal,
      address('CONTROLLER', ports.controller),
    ].join(),
    'advertised.listeners': [address('CLIENT', ports.advertised), internal].join(),
    'listener.security.protocol.map': `CLIENT:${protocol(options)},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(node.directory, 'data'),
    ...small(all.length),
    ...(options.tls && tlsProperties(node, options)),
    ...(options.sasl && saslProperties(options.sasl)),
    ...options.properties,
  }
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${escaped(String(value))}\n`)
    .join('')
}

/** A backslash and a line break mean something in a properties file. */
function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}

/** A cluster that starts quickly, notices a death soon and needs little memory; never told to write through. */
function small(brokers: number): Record<string, string | number | boolean> {
  return {
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.cleaner.dedupe.buffer.size': 4 * 1024 * 1024,
    'auto.create.topics.enable': false,
    'default.replication.factor': brokers,
    'min.insync.replicas': brokers === 1 ? 1 : 2,
    'offsets.topic.num.partitions': 1,
    'offsets.topic.replication.factor': brokers,
    'transaction.state.log.num.partitions': 2,
    'transaction.state.log.replication.factor': brokers,
    'transaction.state.log.min.isr': brokers === 1 ? 1 : 2,
    'share.coordinator.state.topic.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': brokers,
    'share.coordinator.state.topic.min.isr': 1,
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': 200,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1_000,
    'group.consumer.min.session.timeout.ms': 1_000,
    'group.consumer.min.heartbeat.interval.ms': 100,
    // After a kill -9 a broker comes back only when its former session has run out.
    'broker.session.timeout.ms': brokers === 1 ? 1_500 : 4_000,
    'broker.heartbeat.interval.ms': 300,
    'log.initial.task.delay.ms': 1_000,
  }
}

function protocol({ sasl, tls }: KafkaOptions): string {
  return `${sasl ? 'SASL_' : ''}${tls ? 'SSL' : 'PLAINTEXT'}`
}

const listener = 'listener.name.client'

function tlsProperties(node: NodePlace, { tls }: KafkaOptions): Record<string, string> {
  const mutual = typeof tls === 'object' && tls.mutual
  return {
    [`${listener}.ssl.keystore.type`]: 'PEM',
    [`${listener}.ssl.keystore.location`]: join(node.tlsDirectory, 'server-all.pem'),
    [`${listener}.ssl.truststore.type`]: 'PEM',
    [`${listener}.ssl.truststore.location`]: join(node.tlsDirectory, 'ca.pem'),
    [`${listener}.ssl.client.auth`]: mutual ? 'required' : 'none',
  }
}

const loginModules: Readonly<Record<SaslMechanism, string>> = {
  PLAIN: 'org.apache.kafka.common.security.plain.PlainLoginModule',
  'SCRAM-SHA-256': 'org.apache.kafka.common.security.scram.ScramLoginModule',
  'SCRAM-SHA-512': 'org.apache.kafka.common.security.scram.ScramLoginModule',
  OAUTHBEARER: 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule',
}

function saslProperties({
  mechanisms,
  users = {},
}: NonNullable<KafkaOptions['sasl']>): Record<string, string> {
  const logins: Readonly<Record<SaslMechanism, readonly string[]>> = {
    PLAIN: Object.entries(users).map(([name, password]) => `user_${name}="${password}"`),
    'SCRAM-SHA-256': [],
    'SCRAM-SHA-512': [],
    OAUTHBEARER: ['unsecuredLoginStringClaim_sub="broker"'],
  }
  return {
    [`${listener}.sasl.enabled.mechanisms`]: mechanisms.join(),
    ...Object.fromEntries(
      mechanisms.map((mechanism) => [
        `${listener}.${mechanism.toLowerCase()}.sasl.jaas.config`,
        `${[loginModules[mechanism], 'required', ...logins[mechanism]].join(' ')};`,
      ]),
    ),
  }
}

/** What the storage is formatted with, beside the properties: SCRAM's users are part of the cluster's metadata. */
export function formatArguments({ sasl }: KafkaOptions): string[] {
  const { mechanisms = [], users = {} } = sasl ?? {}
  return mechanisms
    .filter((mechanism) => mechanism.startsWith('SCRAM'))
    .flatMap((mechanism) =>
      Object.entries(users).flatMap(([name, password]) => [
        '--add-scram',
        `${mechanism}=[name=${name},password="${password}"]`,
      ]),
    )
}
