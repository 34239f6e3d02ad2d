import {
  FindCoordinatorKeyTypes,
  findCoordinatorV4,
  findCoordinatorV5,
  findCoordinatorV6,
  offsetCommitV8,
  offsetCommitV9,
} from '@platformatic/kafka'
import type { Core } from '../core/core.ts'
import type { CommittedPosition } from '../log/port.ts'
import type { Address } from './broker-connection.ts'
import type { Cluster } from './cluster.ts'
import type { Connections } from './connections.ts'
import { errorName, KAFKA_ERROR } from './protocol.ts'

/** What a committer says of itself who is no member of any group. */
const NO_GENERATION = -1
const NO_MEMBER = ''
const NO_EPOCH = -1

const COORDINATOR_MOVED: ReadonlySet<number> = new Set([
  KAFKA_ERROR.coordinatorLoading,
  KAFKA_ERROR.coordinatorNotAvailable,
  KAFKA_ERROR.notCoordinator,
])

/**
 * Commits positions to Kafka under the application's name, where its lag tools look. Hints: nothing of ours reads them,
 * so whatever goes wrong is logged and left. Kafka refuses them while another program is a member of a group of that name.
 */
export class OffsetHints {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections
  readonly #coordinators = new Map<string, Address>()

  constructor(core: Core, cluster: Cluster, connections: Connections) {
    this.#core = core
    this.#cluster = cluster
    this.#connections = connections
  }

  /** Whether Kafka took them. Never rejects. */
  async send(application: string, positions: readonly CommittedPosition[]): Promise<boolean> {
    try {
      const refused = await this.#commit(application, positions)
      if (refused === undefined) return true
      // A coordinator that is found for the first time may need a moment, and one that moved is asked for anew.
      this.#coordinators.delete(application)
      const again = COORDINATOR_MOVED.has(refused)
        ? await this.#commit(application, positions)
        : refused
      if (again === undefined) return true
      this.#core.logger.debug(
        { application, kafka: errorName(again) },
        'Kafka did not take the committed offsets; its lag is out of date',
      )
    } catch (error) {
      this.#coordinators.delete(application)
      this.#core.logger.debug(
        { application, error },
        'the committed offsets could not be sent to Kafka; its lag is out of date',
      )
    }
    return false
  }

  /** Kafka's error code for the first that it refuses. */
  async #commit(
    application: string,
    positions: readonly CommittedPosition[],
  ): Promise<number | undefined> {
    const address = this.#coordinators.get(application) ?? (await this.#find(application))
    if (typeof address === 'number') return address
    this.#coordinators.set(application, address)
    // Offsets are kept by name: those of a topic that is gone must not be taken for its successor's.
    const current = positions.filter(
      ({ topic, topicId }) => this.#cluster.known(topicId)?.name === topic,
    )
    if (current.length === 0) return undefined
    const topics = [...Map.groupBy(current, ({ topic }) => topic)].map(([name, some]) => ({
      name,
      partitions: some.map(({ partition, next }) => ({
        partitionIndex: partition,
        committedOffset: next,
        committedLeaderEpoch: NO_EPOCH,
        committedMetadata: '',
      })),
    }))
    const answer = await this.#connections
      .to(address, 'main')
      .call(
        [offsetCommitV9.api, offsetCommitV8.api],
        application,
        NO_GENERATION,
        NO_MEMBER,
        null,
        topics,
      )
    const codes = answer.topics.flatMap(({ partitions }) =>
      partitions.map(({ errorCode }) => errorCode),
    )
    return codes.find((code) => code !== KAFKA_ERROR.none)
  }

  async #find(application: string): Promise<Address | number> {
    const { coordinators } = await this.#cluster.main((connection) =>
      connection.call(
        [findCoordinatorV6.api, findCoordinatorV5.api, findCoordinatorV4.api],
        FindCoordinatorKeyTypes.GROUP,
        [application],
      ),
    )
    const found = coordinators[0]
    if (found === undefined) return KAFKA_ERROR.coordinatorNotAvailable
    return found.errorCode === KAFKA_ERROR.none
      ? { host: found.host, port: found.port }
      : found.errorCode
  }
}
