import { metadataV12 } from '@platformatic/kafka'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Address, Api, BrokerConnection } from './broker-connection.ts'
import type { Connections } from './connections.ts'
import { FETCH } from './fetch-api.ts'
import { errorName, isTransient, KAFKA_ERROR } from './protocol.ts'

/** A broker as the cluster knows it. */
export interface Broker extends Address {
  readonly id: number
}

/** Who leads a partition. */
export interface PartitionView {
  /** The broker's id; −1: nobody. */
  readonly leader: number
  readonly epoch: number
  /** Kafka's error code for it, 0 for none. */
  readonly error: number
}

/** A topic as the cluster describes it. */
export interface TopicView {
  readonly id: string
  readonly name: string
  readonly internal: boolean
  readonly partitions: readonly PartitionView[]
}

/** The leader of a partition, or why there is none. */
export type Leader =
  | { readonly broker: Broker; readonly epoch: number }
  | { readonly unavailable: string }
  /** The topic, or the partition, is not known here; perhaps it is elsewhere by now. */
  | { readonly unknown: true }

type MetadataResponse = metadataV12.MetadataResponse
type MetadataRequestTopic = string | metadataV12.MetadataRequestTopic

/** How long one broker may take to say what the cluster looks like, in milliseconds. */
const LOOK_MS = 5_000
/** How many brokers are asked before a topic is said not to exist, and how long the further ones may take. */
const OPINIONS = 3
const OPINION_MS = 1_000

/**
 * What is known of the cluster: its brokers, and who leads which partition of the topics that were asked for. Any broker
 * that answers is asked. What one does not know may be too new for it, so before something is said not to exist, others
 * are asked too.
 */
export class Cluster {
  readonly #core: Core
  readonly #connections: Connections
  readonly #bootstrap: readonly Address[]
  readonly #topics = new Map<string, TopicView>()
  #brokers: readonly Broker[] = []
  #main: Address | undefined
  #id: string | undefined
  #waiting: Lookup | undefined
  #running: Promise<unknown> = Promise.resolve()

  constructor(core: Core, connections: Connections, bootstrap: readonly Address[]) {
    this.#core = core
    this.#connections = connections
    this.#bootstrap = bootstrap
  }

  /**
   * Connects, and looks whether the brokers are new enough.
   * @throws E_LOG_CONNECT, E_LOG_VERSION
   */
  async open(): Promise<void> {
    await this.main(async (connection) => {
      await connection.require(FETCH)
      await this.#ask(connection, [])
    })
  }

  /** What the cluster calls itself, once a broker has said so. */
  get id(): string | undefined {
    return this.#id
  }

  /** The brokers known so far. */
  get brokers(): readonly Broker[] {
    return this.#brokers
  }

  /** All topics, internal ones too. */
  async all(): Promise<readonly TopicView[]> {
    const answer = await this.main((connection) => this.#ask(connection, null))
    return answer.topics
  }

  /**
   * The topics of these names and ids as they are now. Everything asked for while a question is under way goes out
   * together in the next.
   */
  async look(keys: {
    readonly names?: Iterable<string>
    readonly ids?: Iterable<string>
  }): Promise<Found> {
    const lookup = (this.#waiting ??= this.#plan())
    for (const name of keys.names ?? []) lookup.names.add(name)
    for (const id of keys.ids ?? []) lookup.ids.add(id)
    await lookup.done
    return lookup.found
  }

  /** The topic of that name, or of that id, as it is now. */
  async topic(
    key: { readonly name: string } | { readonly id: string },
  ): Promise<TopicView | undefined> {
    const found = await this.look('id' in key ? { ids: [key.id] } : { names: [key.name] })
    return found.get('id' in key ? key.id : key.name)
  }

  /** What was last seen of a topic. */
  known(topicId: string): TopicView | undefined {
    return this.#topics.get(topicId)
  }

  /** What was last seen of the topic that had the name then. */
  knownByName(name: string): TopicView | undefined {
    for (const view of this.#topics.values()) if (view.name === name) return view
    return undefined
  }

  /** Who leads a partition, as far as is known. */
  leader(topicId: string, partition: number): Leader {
    const view = this.#topics.get(topicId)?.partitions[partition]
    if (view === undefined) return { unknown: true }
    const broker = this.#brokers.find(({ id }) => id === view.leader)
    if (broker !== undefined) return { broker, epoch: view.epoch }
    const why = view.error === 0 ? `broker ${view.leader} is gone` : errorName(view.error)
    return { unavailable: `partition ${partition} has no leader (${why})` }
  }

  /**
   * Calls a broker that answers: the last one that did, else another.
   * @throws E_LOG_CONNECT when none does.
   */
  async main<T>(call: (connection: BrokerConnection) => Promise<T>): Promise<T> {
    const errors: { readonly address: Address; readonly error: unknown }[] = []
    for (const address of this.#candidates()) {
      try {
        const answer = await call(this.#connections.to(address, 'main'))
        this.#main = address
        return answer
      } catch (error) {
        // Another broker would say the same.
        if (error instanceof MillraceError && error.code === 'E_LOG_VERSION') throw error
        if (this.#main === address) this.#main = undefined
        errors.push({ address, error })
      }
    }
    throw connectError(errors)
  }

  #candidates(): readonly Address[] {
    const all: Address[] = this.#main === undefined ? [] : [this.#main]
    for (const one of [...this.#brokers, ...this.#bootstrap]) {
      if (!all.some(({ host, port }) => host === one.host && port === one.port)) all.push(one)
    }
    return all
  }

  #plan(): Lookup {
    const lookup: Lookup = { names: new Set(), ids: new Set(), found: new Found(), done: undefined }
    lookup.done = this.#running.then(() => {
      this.#waiting = undefined
      return this.#run(lookup)
    })
    this.#running = lookup.done.catch(() => {})
    return lookup
  }

  async #run({ names, ids, found }: Lookup): Promise<void> {
    // Two questions: of a request that has an id in it, brokers do not look at the names.
    const missing = (): MetadataRequestTopic[][] =>
      [
        [...names].filter((name) => !found.has(name)).map((name) => ({ name })),
        [...ids].filter((id) => !found.has(id)).map((topicId) => ({ topicId })),
      ].filter((topics) => topics.length > 0)
    const ask = async (connection: BrokerConnection, timeoutMs?: number): Promise<void> => {
      await Promise.all(missing().map((topics) => this.#ask(connection, topics, found, timeoutMs)))
    }
    await this.main((connection) => ask(connection))
    const others = this.#brokers.filter(
      ({ host, port }) => host !== this.#main?.host || port !== this.#main.port,
    )
    if (missing().length > 0) {
      await Promise.all(
        others.slice(0, OPINIONS - 1).map(async (other) => {
          const connection = this.#connections.to(other, 'main')
          // One that does not answer has no opinion.
          await ask(connection, OPINION_MS).catch(() => {})
        }),
      )
    }
    for (const id of ids) if (!found.has(id)) this.#topics.delete(id)
  }

  async #ask(
    connection: BrokerConnection,
    topics: MetadataRequestTopic[] | null,
    found = new Found(),
    timeoutMs: number = LOOK_MS,
  ): Promise<{ readonly brokers: readonly Broker[]; readonly topics: readonly TopicView[] }> {
    const api: Api<[MetadataRequestTopic[] | null, boolean, boolean], MetadataResponse> =
      metadataV12.api
    const { clock } = this.#core
    const { signal } = new AbortController()
    const call = connection.call([api], topics, false, false)
    const answer = await within(call, { clock, timeoutMs, signal })
    const brokers = answer.brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port }))
    if (brokers.length > 0) this.#brokers = brokers
    this.#id = answer.clusterId ?? this.#id
    const views: TopicView[] = []
    for (const topic of answer.topics) {
      const { errorCode, name } = topic
      const id = topic.topicId.toLowerCase()
      if (errorCode !== 0 || name == null) {
        if (!SAYS_UNKNOWN.has(errorCode)) found.fail(errorCode, name ?? null, id)
        continue
      }
      const view = this.#merge({
        id,
        name,
        internal: topic.isInternal,
        partitions: topic.partitions
          .toSorted((a, b) => a.partitionIndex - b.partitionIndex)
          .map(({ leaderId, leaderEpoch, errorCode: error }) => ({
            leader: leaderId,
            epoch: leaderEpoch,
            error,
          })),
      })
      views.push(view)
      found.add(view)
    }
    return { brokers, topics: views }
  }

  /** A broker that lags behind may still name an old leader: the greater epoch is the newer. */
  #merge(view: TopicView): TopicView {
    const before = this.#topics.get(view.id)
    const partitions = view.partitions.map((now, index) => {
      const then = before?.partitions[index]
      return then !== undefined && then.epoch > now.epoch ? then : now
    })
    const merged = { ...view, partitions }
    const namesake = before === undefined ? this.knownByName(view.name) : undefined
    if (namesake !== undefined) this.#topics.delete(namesake.id)
    this.#topics.set(view.id, merged)
    return merged
  }
}

const SAYS_UNKNOWN: ReadonlySet<number> = new Set([
  KAFKA_ERROR.unknownTopicOrPartition,
  KAFKA_ERROR.unknownTopicId,
])

interface Lookup {
  readonly names: Set<string>
  readonly ids: Set<string>
  readonly found: Found
  done: Promise<void> | undefined
}

/** What a look brought, by name and by id. */
export class Found {
  readonly #views = new Map<string, TopicView>()
  readonly #failed = new Map<string, number>()

  has(key: string): boolean {
    return this.#views.has(key) || this.#failed.has(key)
  }

  /**
   * The topic of that name or id; `undefined`: there is none.
   * @throws E_LOG_REFUSED, or E_LOG_UNAVAILABLE, when the brokers would not say.
   */
  get(key: string): TopicView | undefined {
    const code = this.#failed.get(key)
    if (code !== undefined && !this.#views.has(key)) {
      const transient = isTransient(code)
      throw new MillraceError(
        transient ? 'E_LOG_UNAVAILABLE' : 'E_LOG_REFUSED',
        `the brokers do not say what topic '${key}' is: ${errorName(code)}`,
        { retryable: transient, details: { topic: key, kafka: errorName(code) } },
      )
    }
    return this.#views.get(key)
  }

  add(view: TopicView): void {
    this.#views.set(view.name, view)
    this.#views.set(view.id, view)
  }

  fail(code: number, name: string | null, id: string): void {
    if (name !== null && name !== '') this.#failed.set(name, code)
    this.#failed.set(id, code)
  }
}

/** E_LOG_CONNECT, naming the brokers and what each said; never what we logged in with. */
function connectError(
  errors: readonly { readonly address: Address; readonly error: unknown }[],
): MillraceError {
  const said = errors.map(({ address: { host, port }, error }) => {
    const text = error instanceof Error ? error.message : String(error)
    return text.includes(`${host}:${port}`) ? text : `${host}:${port}: ${text}`
  })
  return new MillraceError(
    'E_LOG_CONNECT',
    `no Kafka broker answers (${said.join('; ')}). Check that they run, their addresses, TLS and the login`,
    {
      retryable: true,
      details: { brokers: errors.map(({ address: { host, port } }) => `${host}:${port}`) },
      cause: errors.at(-1)?.error,
    },
  )
}
