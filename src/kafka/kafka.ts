import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { isWhole, Problems } from '../errors/config.ts'
import type { LogFactory } from '../log/factory.ts'
import type { Address } from './broker-connection.ts'
import { CODECS, type Compression } from './codecs.ts'
import { KafkaLog } from './kafka-log.ts'

/** A secret, or a function that gives it when a connection is made. */
export type Secret = string | (() => string | Promise<string>)

/** How to log in. */
export type KafkaLogin =
  | {
      readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
      readonly username: Secret
      readonly password: Secret
    }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: Secret }

/** Options of {@link kafka}. */
export interface KafkaOptions {
  /** `host:port` of some brokers; they tell of the others. One text may name several, with commas. Default port 9092. */
  readonly brokers: string | readonly string[]
  /** Name of this client in the brokers' logs and quotas. Default `millrace`. */
  readonly clientId?: string
  /** How to log in. Default: not at all. */
  readonly sasl?: KafkaLogin
  /** `true`, or the options of `tls.connect` (`ca`, `cert`, `key`, …). Default: no TLS. */
  readonly tls?: boolean | TlsOptions
  /** Longest time to connect, in milliseconds. Default 5,000. Bounds 100 … 60,000. */
  readonly connectTimeoutMs?: number
  /** Longest time for an answer before the connection counts as broken, in milliseconds. Default 10,000. Bounds 1,000 … 120,000. */
  readonly requestTimeoutMs?: number
  /**
   * After this an append is given up, in milliseconds: refused when nothing was written, else its outcome is unknown.
   * Default 30,000. Bounds 100 … 600,000.
   */
  readonly deliveryTimeoutMs?: number
  /**
   * Largest record that may be published in a transaction, in bytes: what it takes in a batch of its own, with key and headers,
   * before compression. As `message.max.bytes` of the brokers and `max.message.bytes` of the topics say; a larger one would
   * hold up what comes after it. Default 1,048,588, Kafka's own. Bounds 1,000 … 1 GiB.
   */
  readonly maxRecordBytes?: number
  /** How records are compressed. Default `none`. */
  readonly compression?: Compression
  /** Most bytes that are fetched before somebody reads them, over all partitions. Default 33,554,432. Bounds 1 MiB … 1 GiB. */
  readonly maxBufferedBytes?: number
  /**
   * Most bytes that one batch of records may decompress to; a larger one stops its partition. Default 67,108,864. Bounds
   * 1 MiB … 1 GiB.
   */
  readonly maxBatchBytes?: number
  /** On how many brokers the partitions of topics that millrace makes are kept. Default: as the cluster says. Bounds 1 … 100. */
  readonly replicationFactor?: number
  /** Settings of topics that millrace makes, as Kafka names them: `{ 'retention.ms': '604800000' }`. Default none. */
  readonly topicConfigs?: Readonly<Record<string, string>>
}

const DEFAULT_PORT = 9_092
const MIB = 1_048_576
/** Kafka's default of `message.max.bytes`. */
const MAX_RECORD_BYTES = 1_048_588

/**
 * Apache Kafka as the log, for `start({ log: kafka({ brokers: 'localhost:9092' }) })`. Brokers 3.7 or newer. Needs the
 * package `@platformatic/kafka`.
 * @throws E_CONFIG_INVALID naming everything that is wrong; when it is opened E_LOG_CONNECT, E_LOG_VERSION.
 */
export function kafka(options: KafkaOptions): LogFactory {
  checkOptions(options)
  const { sasl, tls } = options
  const brokers = addressesOf(options.brokers)
  return {
    kind: 'kafka',
    open: async ({ core }) =>
      KafkaLog.open({
        core,
        brokers: brokers.filter((address) => address !== undefined),
        connect: {
          clientId: options.clientId ?? 'millrace',
          tls: tls === true ? {} : tls === false ? undefined : tls,
          sasl: sasl === undefined ? undefined : { ...sasl },
          connectTimeoutMs: options.connectTimeoutMs ?? 5_000,
          requestTimeoutMs: options.requestTimeoutMs ?? 10_000,
        },
        topics: {
          replicationFactor: options.replicationFactor,
          configs: options.topicConfigs ?? {},
        },
        compression: options.compression ?? 'none',
        maxRecordBytes: options.maxRecordBytes ?? MAX_RECORD_BYTES,
        deliveryTimeoutMs: options.deliveryTimeoutMs ?? 30_000,
        maxBufferedBytes: options.maxBufferedBytes ?? 32 * MIB,
        maxBatchBytes: options.maxBatchBytes ?? 64 * MIB,
      }),
  }
}

function checkOptions(options: KafkaOptions): void {
  const problems = new Problems('kafka')
  const { brokers, sasl, compression } = options
  const addresses = addressesOf(brokers)
  problems.expect(
    addresses.length > 0 && addresses.every((address) => address !== undefined),
    'brokers',
    "one or more of 'host:port'",
    withoutSecrets(brokers),
  )
  const whole = (option: keyof KafkaOptions, min: number, max: number): void => {
    const value = options[option]
    problems.expect(
      value === undefined || isWhole(value, min, max),
      option,
      `a whole number from ${min} to ${max}`,
      value,
    )
  }
  whole('connectTimeoutMs', 100, 60_000)
  whole('requestTimeoutMs', 1_000, 120_000)
  whole('deliveryTimeoutMs', 100, 600_000)
  whole('maxBufferedBytes', MIB, 1_024 * MIB)
  whole('maxRecordBytes', 1_000, 1_024 * MIB)
  whole('maxBatchBytes', MIB, 1_024 * MIB)
  whole('replicationFactor', 1, 100)
  problems.expect(
    compression === undefined || CODECS.includes(compression),
    'compression',
    `one of ${CODECS.join(', ')}`,
    compression,
  )
  if (sasl !== undefined) checkLogin(problems, sasl)
  problems.throwIfAny()
}

/** Says what is missing, never what is there. */
function checkLogin(problems: Problems, sasl: KafkaLogin): void {
  const isSecret = (value: unknown): boolean =>
    (typeof value === 'string' && value !== '') || typeof value === 'function'
  const expectSecret = (option: string, value: unknown): void =>
    problems.expect(isSecret(value), `sasl.${option}`, 'a text or a function', typeof value)
  switch (sasl.mechanism) {
    case 'PLAIN':
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-512':
      expectSecret('username', sasl.username)
      expectSecret('password', sasl.password)
      break
    case 'OAUTHBEARER':
      expectSecret('token', sasl.token)
      break
    default:
      problems.expect(
        false,
        'sasl.mechanism',
        'PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER',
        (sasl as { mechanism?: unknown }).mechanism,
      )
  }
}

/** Some write logins before addresses, as in URLs. */
function withoutSecrets(brokers: unknown): unknown {
  if (Array.isArray(brokers)) return brokers.map(withoutSecrets)
  return typeof brokers === 'string' ? brokers.replaceAll(/[^,]*@/g, '***@') : brokers
}

/** The addresses that are named; `undefined` for what is none. */
function addressesOf(brokers: unknown): (Address | undefined)[] {
  const list: unknown[] = Array.isArray(brokers) ? brokers : [brokers]
  return list
    .flatMap((one) => (typeof one === 'string' ? one.split(',') : [one]))
    .map((one) => (typeof one === 'string' ? addressOf(one.trim()) : undefined))
}

function addressOf(text: string): Address | undefined {
  const match = /^(?:\[([^\]\s]+)\]|([^\s:/@]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3] ?? DEFAULT_PORT)
  return host === undefined || !isWhole(port, 1, 65_535) ? undefined : { host, port }
}
