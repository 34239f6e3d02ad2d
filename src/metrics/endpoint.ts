import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { TimeoutReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import type { Collector } from './collector.ts'
import { CONTENT_TYPE } from './exposition.ts'

/** Where metrics are served. */
export interface MetricsOptions {
  /** 0: a free one, which the log and `millrace.metricsUrl` tell. Bounds 0 … 65,535. */
  readonly port: number
  /**
   * The address to listen on. Default `127.0.0.1`: nobody outside of this machine. There is neither a login nor TLS; whoever
   * names another address sees to it who can reach that.
   */
  readonly host?: string
}

/** What {@link MetricsEndpoint} works with. */
export interface EndpointOptions extends MetricsOptions {
  readonly core: Core
  readonly collector: Pick<Collector, 'collect'>
  /** Whether this process may work, for `/readyz`. */
  readonly ready: () => boolean
  /** How long an answer may take, in milliseconds; then it is 503. Default 10,000. */
  readonly answerMs?: number
}

/** Connections at once; more are refused. */
const MAX_CONNECTIONS = 64
/** How long a request may take to arrive, in milliseconds. */
const REQUEST_MS = 5_000

/**
 * Serves `/metrics` in Prometheus' text format, and two probes: `/livez` (this process answers) and `/readyz` (its heartbeat
 * gets through). Answers GET and HEAD, and nothing else.
 */
export class MetricsEndpoint {
  readonly #options: EndpointOptions
  readonly #server: Server
  #url: string | undefined
  #stopped: Promise<void> | undefined

  constructor(options: EndpointOptions) {
    this.#options = options
    this.#server = createServer(
      {
        requestTimeout: REQUEST_MS,
        headersTimeout: REQUEST_MS,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#answer(request, response),
    )
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  /** Where `/metrics` is; undefined before `start`. */
  get url(): string | undefined {
    return this.#url
  }

  /** @throws E_METRICS_LISTEN when the address cannot be listened on. */
  async start(): Promise<void> {
    const { host = '127.0.0.1', port, core } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(
          new MillraceError(
            'E_METRICS_LISTEN',
            `metrics cannot be served on ${host} port ${port}: ${error.code ?? error.message}. Choose another port, or 0 for a free one.`,
            { cause: error, details: { host, port } },
          ),
        )
      })
      this.#server.listen({ host, port }, resolve)
    })
    this.#server.on('error', (error) => core.logger.warn({ error }, 'the metrics endpoint'))
    const address = this.#server.address() as AddressInfo
    const name = address.family === 'IPv6' ? `[${address.address}]` : address.address
    this.#url = `http://${name}:${address.port}/metrics`
    core.logger.info({ url: this.#url }, 'metrics are served')
  }

  /** Ends all connections. Safe twice. */
  async stop(): Promise<void> {
    this.#stopped ??= new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
    await this.#stopped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answerTo(request)
    const body = Buffer.from(answer.body)
    response.writeHead(answer.code, {
      'content-type': answer.type ?? 'text/plain; charset=utf-8',
      'content-length': body.length,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      // Whatever came along with a request that nobody wants is not read.
      ...(answer.code === 405 ? { allow: 'GET, HEAD', connection: 'close' } : {}),
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  async #answerTo({ method, url = '' }: IncomingMessage): Promise<Answer> {
    const path = url.split('?', 1)[0]
    if (path !== '/metrics' && path !== '/livez' && path !== '/readyz')
      return { code: 404, body: 'nothing here; see /metrics, /livez, /readyz\n' }
    if (method !== 'GET' && method !== 'HEAD') return { code: 405, body: 'GET or HEAD\n' }
    if (path === '/livez') return { code: 200, body: 'ok\n' }
    if (path === '/readyz') {
      return this.#options.ready()
        ? { code: 200, body: 'ok\n' }
        : { code: 503, body: 'the heartbeat of this process does not get through\n' }
    }
    return this.#metrics()
  }

  async #metrics(): Promise<Answer> {
    const { core, collector, answerMs = 10_000 } = this.#options
    try {
      const body = await within(collector.collect(), {
        clock: core.clock,
        timeoutMs: answerMs,
        signal: new AbortController().signal,
      })
      return { code: 200, body, type: CONTENT_TYPE }
    } catch (error) {
      core.logger.warn({ error }, 'the metrics could not be read')
      return { code: 503, body: `${reasonOf(error)}\n` }
    }
  }
}

interface Answer {
  readonly code: number
  readonly body: string
  readonly type?: string
}

/** In few words, and without anything that somebody might have put into an error. */
function reasonOf(error: unknown): string {
  if (error instanceof TimeoutReason) return 'the figures are not there in time'
  if (isMillraceError(error) && error.code === 'E_DB_CONNECT') return 'the database does not answer'
  return 'the figures cannot be read just now'
}
