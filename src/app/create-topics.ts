import type { Core } from '../core/core.ts'
import { deadTopicOf } from '../dead-letter/export-record.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import type { StartOptions } from './options.ts'

const PARTITIONS = 6

/** How many partitions a topic is made with. */
export function partitionsOf(name: string, { topics = {}, partitions }: StartOptions): number {
  return topics[name]?.partitions ?? partitions ?? PARTITIONS
}

/**
 * Makes the topics that are missing. Without those for copies of dead letters, or without the permission to make them,
 * everything else goes on: the exporter makes them when it can.
 */
export async function createTopics(core: Core, log: Log, options: StartOptions): Promise<void> {
  const { topics: named = {}, run = [] } = options
  const dead = new Set(
    run.flatMap(({ name, options: own }) => (own.exportDeadLetters ? [deadTopicOf(name)] : [])),
  )
  // Those of other programs are theirs to make, and perhaps need other numbers of partitions.
  const others = new Set(run.flatMap((one) => [...one.options.deadLetterTopics.keys()]))
  const read = run.flatMap(({ topics }) => topics).filter((name) => !others.has(name))
  for (const name of new Set([...Object.keys(named), ...read, ...dead])) {
    const making = makeTopic(log, name, options)
    await (dead.has(name) ? making.catch((error: unknown) => putOff(core, name, error)) : making)
  }
}

/** @throws E_LOG_TOPIC_EXISTS when it is named in the options, and there with another number of partitions. */
async function makeTopic(log: Log, name: string, options: StartOptions): Promise<void> {
  const isNamed = options.topics?.[name] !== undefined
  if (isNamed || (await log.topic(name)) === undefined)
    await log.createTopic(name, { partitions: partitionsOf(name, options) })
}

/** What the log refuses, or cannot do just now, it may do later; a mistake in the options stays one. */
function putOff(core: Core, topic: string, error: unknown): void {
  const isOfLog = isMillraceError(error) && error.code.startsWith('E_LOG_')
  if (!isOfLog || error.code === 'E_LOG_TOPIC_EXISTS') throw error
  core.logger.warn(
    { topic, error },
    'the topic for copies of dead letters could not be made; the copies wait for it',
  )
}
