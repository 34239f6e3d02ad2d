import {
  addPartitionsToTxnV3,
  endTxnV3,
  findCoordinatorV4,
  initProducerIdV4,
} from '@platformatic/kafka'
import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { unknownTopic } from '../log/log-errors.ts'
import { RELAY_TRANSACTION_MS } from '../log/relay-port.ts'
import type { Address } from './broker-connection.ts'
import type { Cluster } from './cluster.ts'
import type { Connections } from './connections.ts'
import { errorName, isTransient, KAFKA_ERROR } from './protocol.ts'

/** Partitions of one topic. */
export interface TopicPartitions {
  readonly name: string
  readonly partitions: readonly number[]
}

/** Under which numbers a producer writes. */
export interface ProducerNumbers {
  readonly producerId: bigint
  readonly epoch: number
}

interface Session extends ProducerNumbers {
  readonly coordinator: Address
}

/** How long others' unfinished business is waited for, in milliseconds. */
const PATIENCE_MS = 30_000
const LOOK_AGAIN_MS = 20
/** Waits between attempts while the coordinator is busy with the transaction before, in milliseconds. */
const BUSY_MS = [1, 2, 4, 5] as const
const TRANSACTIONS = 1
const NO_PRODUCER = -1n
const NO_EPOCH = -1

const CONCURRENT_TRANSACTIONS = 51
const PRODUCER_FENCED = 90
/** The coordinator is moving, or starting. */
const MOVING: ReadonlySet<number> = new Set([
  KAFKA_ERROR.coordinatorLoading,
  KAFKA_ERROR.coordinatorNotAvailable,
  KAFKA_ERROR.notCoordinator,
])
const FENCED: ReadonlySet<number> = new Set([PRODUCER_FENCED, KAFKA_ERROR.invalidProducerEpoch])

/**
 * The coordinator of the transactions of one transactional id.
 *
 * Modes: new → (take over) → idle ⇄ (begin, end) in a transaction. Any error but E_LOG_UNKNOWN_TOPIC and
 * E_EVENT_REFUSED of `begin` leaves nobody knowing where it stands; the next who takes over settles it.
 *
 * Requests have the versions that are meant for clients: with AddPartitionsToTxn 4 and above, which the client's own producer
 * chooses, brokers that have access rules want the rights of a broker.
 */
export class TransactionCoordinator {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections
  readonly #id: string
  #session: Session | undefined

  constructor(core: Core, cluster: Cluster, connections: Connections, transactionalId: string) {
    this.#core = core
    this.#cluster = cluster
    this.#connections = connections
    this.#id = transactionalId
  }

  /**
   * Takes the id over: what was open under it is ended, and whoever had it is refused from then on. The numbers of before
   * are not given back to Kafka, which takes them for a copy of an old producer then.
   * @throws E_LOG_UNAVAILABLE, E_LOG_CONNECT, E_LOG_REFUSED
   */
  async takeOver(signal?: AbortSignal): Promise<ProducerNumbers> {
    const { clock } = this.#core
    const deadline = clock.monotonicMs() + PATIENCE_MS
    for (;;) {
      const coordinator = await this.#find()
      let code: number = KAFKA_ERROR.coordinatorNotAvailable
      if (coordinator !== undefined) {
        const answer = await this.#connections
          .to(coordinator, 'produce')
          .call([initProducerIdV4.api], this.#id, RELAY_TRANSACTION_MS, NO_PRODUCER, NO_EPOCH)
        code = answer.errorCode
        if (code === KAFKA_ERROR.none) {
          const { producerId, producerEpoch: epoch } = answer
          this.#session = { coordinator, producerId, epoch }
          return this.#session
        }
      }
      const waits = MOVING.has(code) || code === CONCURRENT_TRANSACTIONS
      if (!waits || clock.monotonicMs() > deadline) {
        throw producerError('the transactional id cannot be taken', code)
      }
      await clock.sleep(LOOK_AGAIN_MS, signal === undefined ? {} : { signal })
    }
  }

  /**
   * Begins a transaction, in which these partitions may be written to.
   * @throws E_LOG_UNKNOWN_TOPIC when one does not exist, E_EVENT_REFUSED when we may not write to one: no transaction has begun
   * then. E_LOG_FENCED, E_LOG_UNAVAILABLE, E_LOG_REFUSED
   */
  async begin(topics: readonly TopicPartitions[]): Promise<void> {
    const { coordinator, producerId, epoch } = this.#opened()
    const { clock } = this.#core
    const request = {
      transactionalId: this.#id,
      producerId,
      producerEpoch: epoch,
      topics: topics.map(({ name, partitions }) => ({ name, partitions: [...partitions] })),
      verifyOnly: false,
    }
    const deadline = clock.monotonicMs() + PATIENCE_MS
    for (let attempt = 0; ; attempt += 1) {
      const answer = await this.#connections
        .to(coordinator, 'produce')
        .call([addPartitionsToTxnV3.api], [request])
      const failed = answer.resultsByTransaction
        .flatMap(({ topicResults }) => topicResults)
        .flatMap(({ name, resultsByPartition }) =>
          resultsByPartition.map(({ partitionErrorCode: code }) => ({ name, code })),
        )
        .filter(({ code }) => code !== KAFKA_ERROR.none)
      if (failed.length === 0) return
      // When one cannot be added, none is.
      const gone = failed.filter(({ code }) => code === KAFKA_ERROR.unknownTopicOrPartition)
      if (gone.length > 0) throw unknownTopic([...new Set(gone.map(({ name }) => name))])
      const denied = failed.find(({ code }) => code === KAFKA_ERROR.topicAuthorizationFailed)
      if (denied !== undefined) throw refusedError(denied.name, denied.code)
      const { code = KAFKA_ERROR.none } =
        failed.find((one) => one.code !== KAFKA_ERROR.operationNotAttempted) ?? {}
      const isBusy = code === CONCURRENT_TRANSACTIONS || code === KAFKA_ERROR.coordinatorLoading
      if (!isBusy || clock.monotonicMs() > deadline) {
        throw producerError('partitions cannot be added to the transaction', code)
      }
      await clock.sleep(BUSY_MS[Math.min(attempt, BUSY_MS.length - 1)] as number)
    }
  }

  /**
   * Ends the transaction. When this resolves it is decided, though readers may see it a little later.
   * @throws E_LOG_FENCED, E_LOG_UNAVAILABLE, E_LOG_REFUSED, or what the connection said.
   */
  async end(outcome: 'commit' | 'abort'): Promise<void> {
    const { coordinator, producerId, epoch } = this.#opened()
    const commit = outcome === 'commit'
    const { errorCode } = await this.#connections
      .to(coordinator, 'produce')
      .call([endTxnV3.api], this.#id, producerId, epoch, commit)
    if (errorCode === KAFKA_ERROR.none) return
    throw producerError(`the transaction cannot be ended (${outcome})`, errorCode)
  }

  #opened(): Session {
    if (this.#session !== undefined) return this.#session
    throw new MillraceError('E_LOG_UNAVAILABLE', 'this producer is not open', { retryable: true })
  }

  async #find(): Promise<Address | undefined> {
    const { coordinators } = await this.#cluster.main((connection) =>
      connection.call([findCoordinatorV4.api], TRANSACTIONS, [this.#id]),
    )
    const found = coordinators[0]
    if (found === undefined || MOVING.has(found.errorCode)) return undefined
    if (found.errorCode === KAFKA_ERROR.none) return found
    throw producerError('the coordinator of transactions cannot be found', found.errorCode)
  }
}

/** Says that a topic does not take a record, or one of some. */
export function refusedError(topic: string, code: number, message?: string): MillraceError {
  const kafka = errorName(code)
  return new MillraceError(
    'E_EVENT_REFUSED',
    `topic '${topic}' refuses it: ${kafka}${message === undefined ? '' : ` (${message})`}`,
    { details: { topic, kafka } },
  )
}

/** What Kafka's answer to a producer means. */
export function producerError(what: string, code: number, message?: string): MillraceError {
  const kafka = errorName(code)
  const details = { kafka }
  if (FENCED.has(code)) {
    const text = `${what}: another producer has taken over (${kafka})`
    return new MillraceError('E_LOG_FENCED', text, { retryable: true, details })
  }
  const transient = isTransient(code)
  return new MillraceError(
    transient ? 'E_LOG_UNAVAILABLE' : 'E_LOG_REFUSED',
    `${what}: ${kafka}${message === undefined ? '' : ` (${message})`}`,
    { retryable: transient, details },
  )
}
