import { PartitionBuffer } from './partition-buffer.ts'

/** How long a partition that nobody reads keeps its records, and is known at all, in milliseconds. */
const KEPT_MS = 10_000
const KNOWN_MS = 60_000
/** How long records that were read are kept for another reader, in milliseconds. */
const READ_MS = 500

/** The key of a partition in maps. */
export function keyOf(topicId: string, partition: number): string {
  return `${topicId}/${partition}`
}

/** What is at hand of all partitions that somebody reads, within one bound. */
export class Buffers {
  readonly #all = new Map<string, PartitionBuffer>()
  readonly #maxBytes: number

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#all.size
  }

  /** Bytes that may still be fetched. */
  get room(): number {
    let room = this.#maxBytes
    for (const buffer of this.#all.values()) room -= buffer.unread
    return room
  }

  [Symbol.iterator](): Iterator<PartitionBuffer> {
    return this.#all.values()
  }

  /** The buffer of a partition, made at its first reading. */
  of(topicId: string, partition: number, now: number): PartitionBuffer {
    const key = keyOf(topicId, partition)
    let buffer = this.#all.get(key)
    if (buffer === undefined) {
      buffer = new PartitionBuffer(topicId, partition)
      this.#all.set(key, buffer)
    }
    buffer.lastRead = now
    return buffer
  }

  /** Forgets what was fetched of a topic, or of one of its partitions. */
  forget(topicId: string, partition?: number): void {
    for (const buffer of this.#all.values()) {
      if (buffer.topicId !== topicId || (partition ?? buffer.partition) !== buffer.partition) {
        continue
      }
      buffer.drop(() => true)
      buffer.end = undefined
    }
  }

  /** Drops what was read, then what was not read for longest, until the rest fits. */
  evict(): void {
    let read = 0
    let unread = 0
    for (const { segments } of this.#all.values()) {
      for (const segment of segments) {
        if (segment.readTo >= segment.next) read += segment.size
        else unread += segment.size
      }
    }
    if (read > this.#maxBytes / 4) {
      for (const buffer of this.#all.values()) buffer.drop((one) => one.readTo >= one.next)
    }
    if (unread <= this.#maxBytes) return
    for (const buffer of [...this.#all.values()].sort((a, b) => a.lastRead - b.lastRead)) {
      if (unread <= this.#maxBytes) return
      unread -= buffer.unread
      buffer.drop(() => true)
    }
  }

  /** Drops what nobody reads any more; gives the ids of the topics that somebody does read. */
  sweep(now: number): Set<string> {
    const active = new Set<string>()
    for (const [key, buffer] of this.#all) {
      const idle = now - buffer.lastRead
      buffer.drop((one) => idle > KEPT_MS || (now - one.at > READ_MS && one.readTo >= one.next))
      if (idle > KEPT_MS) buffer.demands.clear()
      if (idle < KEPT_MS) active.add(buffer.topicId)
      else if (idle > KNOWN_MS && buffer.asked === undefined) this.#all.delete(key)
    }
    return active
  }
}
