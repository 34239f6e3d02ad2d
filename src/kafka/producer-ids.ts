import { initProducerIdV4, initProducerIdV5 } from '@platformatic/kafka'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Cluster } from './cluster.ts'
import { errorName, KAFKA_ERROR } from './protocol.ts'

/** Bounds what a broker keeps of a transaction; there is none. */
const NO_TRANSACTION_MS = 0

/** The numbers under which brokers know this producer again. One serves all partitions until it is spent. */
export class ProducerIds {
  readonly #cluster: Cluster
  #id: Promise<bigint> | undefined
  #current: bigint | undefined

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** The id in use, asked for at the first call. */
  get(): Promise<bigint> {
    this.#id ??= this.#ask().catch((error: unknown) => {
      this.#id = undefined
      throw error
    })
    return this.#id
  }

  /** Asks for another one next time, if that is still the one in use. */
  spend(id: bigint): void {
    if (this.#current === id) this.#id = undefined
  }

  async #ask(): Promise<bigint> {
    const { errorCode, producerId } = await this.#cluster.main((connection) =>
      connection.call([initProducerIdV5.api, initProducerIdV4.api], null, NO_TRANSACTION_MS),
    )
    if (errorCode === KAFKA_ERROR.none) {
      this.#current = producerId
      return producerId
    }
    throw new MillraceError(
      'E_LOG_UNAVAILABLE',
      `the brokers give no producer id: ${errorName(errorCode)}`,
      { retryable: true, details: { kafka: errorName(errorCode) } },
    )
  }
}
