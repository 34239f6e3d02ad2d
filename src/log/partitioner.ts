import type { Random } from '../core/random.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { AppendedRecord, NewRecord, Topic } from './port.ts'

/**
 * Where a record goes.
 * @throws E_LOG_UNKNOWN_TOPIC when it asks for a partition that the topic does not have.
 */
export function placeOf(
  { key, partition }: NewRecord,
  topic: Topic,
  random: Random,
): Omit<AppendedRecord, 'offset'> {
  const { id, name, partitions } = topic
  if (partition === undefined) {
    return { topicId: id, partition: partitionOf(key, partitions, random) }
  }
  if (!Number.isInteger(partition) || partition < 0 || partition >= partitions) {
    throw new MillraceError(
      'E_LOG_UNKNOWN_TOPIC',
      `topic '${name}' has no partition ${partition}: it has ${partitions}, numbered from 0`,
      { details: { topic: name, partition, partitions } },
    )
  }
  return { topicId: id, partition }
}

/**
 * The partition of a record, as the producers of Kafka choose it: murmur2 of the key, made positive, modulo the number of
 * partitions; so one key has one partition, here and there. Without a key: by chance.
 */
export function partitionOf(key: Uint8Array | null, partitions: number, random: Random): number {
  return key === null
    ? Math.floor(random.next() * partitions)
    : (murmur2(key) & 0x7fffffff) % partitions
}

const SEED = 0x9747b28c
const M = 0x5bd1e995
const R = 24

/** MurmurHash 2 by Austin Appleby, in Kafka's form with its fixed seed, as a signed 32-bit number. */
export function murmur2(bytes: Uint8Array): number {
  const { length } = bytes
  const whole = length & ~3
  let hash = SEED ^ length
  for (let at = 0; at < whole; at += 4) {
    let word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    word = Math.imul(word, M)
    word ^= word >>> R
    hash = Math.imul(hash, M) ^ Math.imul(word, M)
  }
  const rest = length - whole
  if (rest > 0) {
    for (let at = 0; at < rest; at += 1) hash ^= (bytes[whole + at] as number) << (8 * at)
    hash = Math.imul(hash, M)
  }
  hash ^= hash >>> 13
  hash = Math.imul(hash, M)
  return hash ^ (hash >>> 15)
}
