import type { Core } from '../core/core.ts'
import { BrokerConnection, type Address, type ConnectOptions } from './broker-connection.ts'

/** What a connection is for. What may wait long shares with nothing else. */
export type Purpose =
  /** Metadata, offsets, topics, commits. */
  | 'main'
  /** Records that somebody waits for. */
  | 'fetch'
  /** Records that may come. */
  | 'watch'
  | 'produce'

/** All connections of one log. */
export class Connections {
  readonly #core: Core
  readonly #options: ConnectOptions
  readonly #all = new Map<string, BrokerConnection>()
  #closed = false

  constructor(core: Core, options: ConnectOptions) {
    this.#core = core
    this.#options = options
  }

  /** The connection to a broker for a purpose. Nothing is sent before it is used. */
  to({ host, port }: Address, purpose: Purpose): BrokerConnection {
    const key = `${purpose} ${host}:${port}`
    const known = this.#all.get(key)
    if (known !== undefined) return known
    const made = new BrokerConnection(this.#core, { host, port }, this.#options)
    if (this.#closed) void made.close()
    else this.#all.set(key, made)
    return made
  }

  /** Ends all connections, for ever. Safe twice. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#all.values()].map((connection) => connection.close()))
  }
}
