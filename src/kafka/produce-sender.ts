import type { Broker } from './cluster.ts'
import type { Connections } from './connections.ts'
import { produceApi, type ProduceBatch, type ProducedBatch } from './produce-api.ts'

/** Most bytes of one request, but for a single batch that is larger. */
const REQUEST_BYTES = 8_388_608

/** How far a sending has come. */
export interface Sending {
  /** Whether the broker may have got it. */
  isSent: boolean
  /** Nobody waits for it any more: it is not to be sent, if it has not been. */
  isGivenUp: boolean
}

interface Waiting {
  readonly batch: ProduceBatch
  readonly sending: Sending
  readonly resolve: (produced: ProducedBatch) => void
  readonly reject: (error: Error) => void
}

/** Sends batches to their leaders: those for the same broker in one request. */
export class ProduceSender {
  readonly #connections: Connections
  readonly #timeoutMs: number
  readonly #waiting = new Map<Broker, Waiting[]>()

  constructor(connections: Connections, timeoutMs: number) {
    this.#connections = connections
    this.#timeoutMs = timeoutMs
  }

  /**
   * What the broker says of the batch.
   * @throws E_LOG_CONNECT when it was not sent; anything else when nobody knows.
   */
  send(broker: Broker, batch: ProduceBatch, sending: Sending): Promise<ProducedBatch> {
    return new Promise((resolve, reject) => {
      const one = { batch, sending, resolve, reject }
      const known = this.#waiting.get(broker)
      if (known !== undefined) {
        known.push(one)
        return
      }
      this.#waiting.set(broker, [one])
      // After all that this turn of the event loop has to say.
      setImmediate(() => {
        const all = this.#waiting.get(broker) ?? []
        this.#waiting.delete(broker)
        for (const some of split(all)) void this.#request(broker, some)
      })
    })
  }

  async #request(broker: Broker, some: readonly Waiting[]): Promise<void> {
    try {
      const connection = this.#connections.to(broker, 'produce')
      const api = produceApi([], this.#timeoutMs)
      const produced = await connection.callRaw({
        ...api,
        // When there is a connection: some may have been given up while it was made.
        write: (version) => {
          const wanted = some.filter(({ sending }) => !sending.isGivenUp)
          if (wanted.length === 0) throw new Error('nobody waits for it any more')
          for (const { sending } of wanted) sending.isSent = true
          const batches = wanted.map(({ batch }) => batch)
          return produceApi(batches, this.#timeoutMs).write(version)
        },
      })
      for (const { batch, resolve, reject } of some) {
        const mine = produced.find(
          ({ topic, partition }) => topic === batch.topic && partition === batch.partition,
        )
        if (mine === undefined) reject(new Error('the broker does not say what became of a batch'))
        else resolve(mine)
      }
    } catch (error) {
      for (const { reject } of some) reject(error as Error)
    }
  }
}

function split(all: readonly Waiting[]): Waiting[][] {
  const requests: Waiting[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const one of all) {
    const size = one.batch.bytes.length
    if (bytes + size > REQUEST_BYTES) {
      requests.push([])
      bytes = 0
    }
    bytes += size
    requests.at(-1)?.push(one)
  }
  return requests
}
