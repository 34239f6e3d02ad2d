import { listOffsetsV8, listOffsetsV9 } from '@platformatic/kafka'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import type { PartitionOffsets } from '../log/port.ts'
import type { Broker, Cluster, TopicView } from './cluster.ts'
import type { Connections } from './connections.ts'
import { errorName, isTransient, KAFKA_ERROR } from './protocol.ts'

/** Places that Kafka knows by negative times. */
const LATEST = -1n
const EARLIEST = -2n
const UNCOMMITTED = 0
const COMMITTED = 1
const NO_REPLICA = -1
/** How long a leader may take, in milliseconds. */
const ANSWER_MS = 3_000
const LIST_OFFSETS = [listOffsetsV9.api, listOffsetsV8.api] as const

/** An offset, or why nobody can say. */
export type Answer = { readonly offset: bigint } | { readonly unavailable: string }

/** Where partitions begin and end, and what lies where in time, asked of their leaders. */
export class Offsets {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections

  constructor(core: Core, cluster: Cluster, connections: Connections) {
    this.#core = core
    this.#cluster = cluster
    this.#connections = connections
  }

  /** How far partitions of a topic reach, all unless some are named; empty when the topic is not there (any more). */
  async ranges(topicId: string, only?: readonly number[]): Promise<PartitionOffsets[]> {
    const view = await this.#cluster.topic({ id: topicId })
    if (view === undefined) return []
    const all = [...view.partitions.keys()].filter((one) => only?.includes(one) ?? true)
    const [starts, ends, appends] = await Promise.all([
      this.#list(view, all, EARLIEST, UNCOMMITTED),
      this.#list(view, all, LATEST, COMMITTED),
      this.#list(view, all, LATEST, UNCOMMITTED),
    ])
    if (!(await this.#isStill(view))) return []
    return all.map((partition) => {
      const answers = [starts, ends, appends].map((answer) => answer.get(partition) as Answer)
      const failed = answers.find((answer) => 'unavailable' in answer)
      if (failed !== undefined) {
        return { partition, start: 0n, end: 0n, appendOffset: 0n, unavailable: failed.unavailable }
      }
      const [start, end, appendOffset] = answers.map((answer) =>
        'offset' in answer ? answer.offset : 0n,
      ) as [bigint, bigint, bigint]
      return { partition, start, end, appendOffset }
    })
  }

  /** The first offset whose record is not older than `time`, else the end; `undefined`: no such partition. */
  async at(topicId: string, partition: number, time: Date): Promise<Answer | undefined> {
    const view = await this.#cluster.topic({ id: topicId })
    if (view?.partitions[partition] === undefined) return undefined
    const ask = async (timestamp: bigint): Promise<Answer> =>
      (await this.#list(view, [partition], timestamp, COMMITTED)).get(partition) as Answer
    // Asked before: whatever is appended between the two is found by who begins there.
    const end = await ask(LATEST)
    const found = await ask(BigInt(time.getTime()))
    if (!(await this.#isStill(view))) return undefined
    return 'offset' in found && found.offset < 0n ? end : found
  }

  /** Leaders are asked by the topic's name: it may stand for another one by now. */
  async #isStill({ id, name }: TopicView): Promise<boolean> {
    return (await this.#cluster.topic({ id }))?.name === name
  }

  async #list(
    view: TopicView,
    partitions: readonly number[],
    timestamp: bigint,
    isolation: number,
  ): Promise<Map<number, Answer>> {
    const answers = await this.#ask(view, partitions, timestamp, isolation)
    const again = [...answers].flatMap(([partition, answer]) =>
      'offset' in answer ? [] : [partition],
    )
    if (again.length > 0 && (await this.#cluster.topic({ id: view.id })) !== undefined) {
      for (const [partition, answer] of await this.#ask(view, again, timestamp, isolation)) {
        answers.set(partition, answer)
      }
    }
    return answers
  }

  async #ask(
    { id, name }: TopicView,
    partitions: readonly number[],
    timestamp: bigint,
    isolation: number,
  ): Promise<Map<number, Answer>> {
    const answers = new Map<number, Answer>()
    const led = new Map<Broker, { partition: number; epoch: number }[]>()
    for (const partition of partitions) {
      const leader = this.#cluster.leader(id, partition)
      if ('broker' in leader) {
        const some = led.get(leader.broker)
        if (some === undefined) led.set(leader.broker, [{ partition, epoch: leader.epoch }])
        else some.push({ partition, epoch: leader.epoch })
      } else {
        const unavailable = 'unavailable' in leader ? leader.unavailable : 'its leader is not known'
        answers.set(partition, { unavailable })
      }
    }
    const { signal } = new AbortController()
    await Promise.all(
      [...led].map(async ([broker, some]) => {
        const connection = this.#connections.to(broker, 'main')
        const asked = some.map(({ partition, epoch }) => ({
          partitionIndex: partition,
          currentLeaderEpoch: epoch,
          timestamp,
        }))
        try {
          const { topics } = await within(
            connection.call(LIST_OFFSETS, NO_REPLICA, isolation, [{ name, partitions: asked }]),
            { clock: this.#core.clock, timeoutMs: ANSWER_MS, signal },
          )
          for (const one of topics.flatMap((topic) => topic.partitions)) {
            answers.set(one.partitionIndex, answerOf(one.errorCode, one.offset))
          }
        } catch (error) {
          const { host, port } = broker
          const unavailable = `its leader ${host}:${port} does not answer: ${(error as Error).message}`
          for (const { partition } of some) answers.set(partition, { unavailable })
        }
      }),
    )
    return answers
  }
}

function answerOf(code: number, offset: bigint): Answer {
  if (code === KAFKA_ERROR.none) return { offset }
  const again = isTransient(code) ? '' : ', and will again'
  return { unavailable: `its leader refuses${again}: ${errorName(code)}` }
}
