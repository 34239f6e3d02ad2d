import { isIP } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import {
  apiVersionsV3,
  Connection,
  ConnectionStatuses,
  type ConnectionOptions,
  type Reader,
  type SASLOptions,
  type Writer,
} from '@platformatic/kafka'
import { backoffMs } from '../core/backoff.ts'
import type { Core } from '../core/core.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { checkBearerAnswer, connectError } from './connect-error.ts'
import { answerOf } from './protocol.ts'

/** Where a broker listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** How brokers are reached. */
export interface ConnectOptions {
  readonly clientId: string
  readonly tls: TlsOptions | undefined
  readonly sasl: SASLOptions | undefined
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
}

/** One version of one of Kafka's requests, as the client offers it. */
export interface Api<A extends unknown[], R> {
  readonly key: number
  readonly version: number
  readonly async: (connection: Connection, ...args: A) => Promise<R>
}

/** A request that the client does not offer as we need it: how it is written and read, by version. */
export interface RawApi<R> {
  readonly key: number
  /** Newest first. */
  readonly versions: readonly number[]
  write(version: number): Writer
  read(version: number, reader: Reader): R
}

type Versions = ReadonlyMap<number, { readonly min: number; readonly max: number }>

/** Waits between attempts to connect, which fail at once meanwhile. */
const BACKOFF = { baseMs: 50, maxMs: 2_000 }
const SOFTWARE = ['millrace', '0'] as const

/**
 * A connection to one broker for one purpose: made when it is first needed, made again when it broke. Requests on it are
 * answered in their order, so whatever may wait long has one of its own.
 */
export class BrokerConnection {
  readonly #core: Core
  readonly #address: Address
  readonly #options: ConnectOptions
  #opening: Promise<Connection> | undefined
  #connecting: Connection | undefined
  #open: { readonly connection: Connection; readonly versions: Versions } | undefined
  #made = 0
  #failures = 0
  #notBefore = 0
  #lastError: MillraceError | undefined
  #closed = false

  constructor(core: Core, address: Address, options: ConnectOptions) {
    this.#core = core
    this.#address = address
    this.#options = options
  }

  /** How often it was made again after it had ended: behind the same address there may be another process since. */
  get reconnects(): number {
    return Math.max(0, this.#made - 1)
  }

  /**
   * Sends a request in the newest version that both sides know, the versions being given newest first. An answer with
   * error codes in it is an answer.
   * @throws E_LOG_CONNECT when there is no connection, so nothing was sent; E_LOG_VERSION when the broker knows none of the
   * versions; what the client says when it was sent, perhaps, and there is no answer.
   */
  async call<A extends unknown[], R>(apis: readonly Api<A, R>[], ...args: A): Promise<R> {
    const connection = await this.#connect()
    const key = (apis[0] as Api<A, R>).key
    const version = this.#newest(
      key,
      apis.map((api) => api.version),
    )
    const api = apis.find((one) => one.version === version) as Api<A, R>
    try {
      return await api.async(connection, ...args)
    } catch (error) {
      const answer = answerOf(error)
      if (answer === undefined) throw error
      return answer as R
    }
  }

  /** As {@link call}, for requests that we write and read ourselves. */
  async callRaw<R>(api: RawApi<R>): Promise<R> {
    const connection = await this.#connect()
    const version = this.#newest(api.key, api.versions)
    return new Promise<R>((resolve, reject) => {
      connection.send(
        api.key,
        version,
        () => api.write(version),
        (_correlation, _key, _version, reader) => api.read(version, reader),
        true,
        true,
        (error, answer) => {
          if (error !== null) reject(error)
          else resolve(answer as R)
        },
      )
    })
  }

  /** @throws E_LOG_VERSION when the broker knows none of these versions of a request. */
  async require({ key, versions }: Pick<RawApi<unknown>, 'key' | 'versions'>): Promise<void> {
    await this.#connect()
    this.#newest(key, versions)
  }

  /** Ends it; requests under way fail. Safe twice. */
  async close(): Promise<void> {
    this.#closed = true
    // As an error, so that whoever waits for the connection is told.
    this.#connecting?.socket?.destroy(closedError())
    await this.#opening?.catch(() => undefined)
    await this.#open?.connection.close()
  }

  #newest(key: number, versions: readonly number[]): number {
    const known = this.#open?.versions.get(key)
    const version = versions.find(
      (one) => known !== undefined && one >= known.min && one <= known.max,
    )
    if (version !== undefined) return version
    const { host, port } = this.#address
    throw new MillraceError(
      'E_LOG_VERSION',
      `the broker ${host}:${port} knows request ${key} in versions ${known?.min ?? 'none'} to ${known?.max ?? 'none'}, and millrace in ${versions.join(', ')}: Kafka 3.7 or newer is needed`,
      { details: { host, port, request: key, versions } },
    )
  }

  async #connect(): Promise<Connection> {
    const connection = this.#open?.connection
    if (connection?.isConnected() === true) return connection
    if (connection?.status === ConnectionStatuses.REAUTHENTICATING) {
      // Anything sent in between would be taken for a part of it.
      await connection.ready()
      return connection
    }
    this.#opening ??= this.#make().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #make(): Promise<Connection> {
    const { clock, random } = this.#core
    if (this.#closed) throw closedError()
    if (this.#lastError !== undefined && clock.monotonicMs() < this.#notBefore)
      throw this.#lastError
    const { host, port } = this.#address
    const connection = new Connection(this.#options.clientId, this.#clientOptions())
    // Whoever waits for an answer gets the error; unheard here, it would end the process.
    connection.on('error', () => {})
    // One that the broker has closed keeps the timer of its next login, and that would keep the process.
    connection.on('close', () => void connection.close())
    this.#connecting = connection
    try {
      await connection.connect(host, port)
      const { apiKeys } = await apiVersionsV3.api.async(connection, ...SOFTWARE)
      const versions = new Map(
        apiKeys.map(({ apiKey, minVersion, maxVersion }) => [
          apiKey,
          { min: minVersion, max: maxVersion },
        ]),
      )
      if (this.#closed) throw closedError()
      this.#open = { connection, versions }
      this.#made += 1
      this.#failures = 0
      this.#lastError = undefined
      return connection
    } catch (error) {
      await connection.close()
      this.#failures += 1
      this.#notBefore = clock.monotonicMs() + backoffMs(this.#failures, random, BACKOFF)
      this.#lastError = isMillraceError(error)
        ? error
        : connectError(this.#address, error, this.#options)
      throw this.#lastError
    } finally {
      this.#connecting = undefined
    }
  }

  #clientOptions(): ConnectionOptions {
    const { tls, sasl, connectTimeoutMs, requestTimeoutMs } = this.#options
    return {
      connectTimeout: connectTimeoutMs,
      requestTimeout: requestTimeoutMs,
      ...(tls === undefined ? {} : { tls }),
      // The name of the server that is asked for; an address is no name.
      ...(tls === undefined || tls.servername !== undefined || isIP(this.#address.host) !== 0
        ? {}
        : { tlsServerName: true }),
      ...(sasl === undefined ? {} : { sasl: checked(sasl) }),
    }
  }
}

function checked(sasl: SASLOptions): SASLOptions {
  if (sasl.mechanism !== 'OAUTHBEARER') return sasl
  return {
    ...sasl,
    authBytesValidator: (answer, callback) => {
      try {
        checkBearerAnswer(answer)
      } catch (error) {
        callback(error as Error)
        return
      }
      callback(null, answer)
    },
  }
}

function closedError(): MillraceError {
  return new MillraceError('E_LOG_CONNECT', 'the log was closed', { retryable: true })
}
