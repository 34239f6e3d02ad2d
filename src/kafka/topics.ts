import { createTopicsV7, deleteRecordsV2, deleteTopicsV6 } from '@platformatic/kafka'
import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { unknownTopic } from '../log/log-errors.ts'
import type { Topic } from '../log/port.ts'
import type { Cluster, TopicView } from './cluster.ts'
import type { Connections } from './connections.ts'
import { errorName, isTransient, KAFKA_ERROR } from './protocol.ts'

/** How topics are made. */
export interface TopicOptions {
  /** On how many brokers a partition is kept; `undefined`: as the cluster says. */
  readonly replicationFactor: number | undefined
  /** Settings of the topic, as Kafka names them. */
  readonly configs: Readonly<Record<string, string>>
}

/** How long a broker may take to carry a change out, and we wait for it to be seen, in milliseconds. */
const CHANGE_MS = 10_000
const LOOK_AGAIN_MS = 20
const AS_THE_CLUSTER_SAYS = -1

/** Makes, deletes and lists topics, and deletes their heads. A change is done when it can be seen. */
export class Topics {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections
  readonly #options: TopicOptions

  constructor(core: Core, cluster: Cluster, connections: Connections, options: TopicOptions) {
    this.#core = core
    this.#cluster = cluster
    this.#connections = connections
    this.#options = options
  }

  async find(name: string): Promise<Topic | undefined> {
    const view = await this.#cluster.topic({ name })
    return view === undefined || view.internal ? undefined : topicOf(view)
  }

  async list(): Promise<Topic[]> {
    const views = await this.#cluster.all()
    return views
      .filter(({ internal }) => !internal)
      .map(topicOf)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Makes a topic; gives the one that is there when somebody was quicker. */
  async create(name: string, partitions: number): Promise<Topic> {
    const { replicationFactor, configs } = this.#options
    const configList = Object.entries(configs).map(([key, value]) => ({ name: key, value }))
    const { topics } = await this.#cluster.main((connection) =>
      connection.call(
        [createTopicsV7.api],
        [
          {
            name,
            numPartitions: partitions,
            replicationFactor: replicationFactor ?? AS_THE_CLUSTER_SAYS,
            assignments: [],
            configs: configList,
          },
        ],
        CHANGE_MS,
        false,
      ),
    )
    const made = topics[0]
    if (made !== undefined && made.errorCode !== KAFKA_ERROR.topicAlreadyExists) {
      refuse(`topic '${name}' cannot be made`, made.errorCode, made.errorMessage ?? undefined)
    }
    const view = await this.#until(`topic '${name}' to have leaders`, async () => {
      const seen = await this.#cluster.topic({ name })
      return seen?.partitions.every(({ leader }) => leader >= 0) === true ? seen : undefined
    })
    return topicOf(view)
  }

  /** Deletes a topic; gives its id, `undefined` when there is none of that name. */
  async delete(name: string): Promise<string | undefined> {
    const view = await this.#cluster.topic({ name })
    if (view === undefined) return undefined
    const { responses } = await this.#cluster.main((connection) =>
      connection.call([deleteTopicsV6.api], [{ name: null, topicId: view.id }], CHANGE_MS),
    )
    const code = responses[0]?.errorCode ?? KAFKA_ERROR.none
    if (code === KAFKA_ERROR.unknownTopicId) return view.id
    refuse(`topic '${name}' cannot be deleted`, code, responses[0]?.errorMessage ?? undefined)
    await this.#until(`topic '${name}' to be gone`, async () =>
      (await this.#cluster.topic({ id: view.id })) === undefined ? true : undefined,
    )
    return view.id
  }

  /** Deletes the records below an offset; gives where the partition starts then. */
  async purge(topicId: string, partition: number, before: bigint): Promise<bigint> {
    const view = await this.#cluster.topic({ id: topicId })
    if (view?.partitions[partition] === undefined) throw unknownTopic([`${topicId}/${partition}`])
    const leader = this.#cluster.leader(topicId, partition)
    if (!('broker' in leader)) {
      throw new MillraceError(
        'E_LOG_UNAVAILABLE',
        `partition ${partition} of topic '${view.name}' cannot be purged: it has no leader just now`,
        { retryable: true },
      )
    }
    const { topics } = await this.#connections
      .to(leader.broker, 'main')
      .call(
        [deleteRecordsV2.api],
        [{ name: view.name, partitions: [{ partitionIndex: partition, offset: before }] }],
        CHANGE_MS,
      )
    const done = topics[0]?.partitions[0]
    const what = `partition ${partition} of topic '${view.name}' cannot be purged`
    refuse(what, done?.errorCode ?? KAFKA_ERROR.none)
    return done?.lowWatermark ?? 0n
  }

  /** Asks until there is an answer. */
  async #until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    const { clock } = this.#core
    const deadline = clock.monotonicMs() + CHANGE_MS
    for (;;) {
      const answer = await ask()
      if (answer !== undefined) return answer
      if (clock.monotonicMs() > deadline) {
        throw new MillraceError(
          'E_LOG_UNAVAILABLE',
          `waited ${CHANGE_MS} ms in vain for ${what}; look whether it has happened since`,
          { retryable: true },
        )
      }
      await clock.sleep(LOOK_AGAIN_MS)
    }
  }
}

function topicOf({ id, name, partitions }: TopicView): Topic {
  return { id, name, partitions: partitions.length }
}

/** @throws E_LOG_UNAVAILABLE or E_LOG_REFUSED, unless the code says that all is well. */
function refuse(what: string, code: number, message?: string): void {
  if (code === KAFKA_ERROR.none) return
  const transient = isTransient(code)
  throw new MillraceError(
    transient ? 'E_LOG_UNAVAILABLE' : 'E_LOG_REFUSED',
    `${what}: ${errorName(code)}${message === undefined ? '' : ` (${message})`}`,
    { retryable: transient, details: { kafka: errorName(code) } },
  )
}
