import { readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import type { KafkaNode } from './kafka.ts'

/**
 * Kills a broker, takes the second half of a partition's bytes away, and starts it again: what a power cut may do to a
 * broker that has not flushed, or an unclean election to a partition. What is written next stands where other records
 * stood.
 */
export async function loseHalf(node: KafkaNode, topic: string, partition = 0): Promise<void> {
  await node.kill9()
  const folder = join(node.logDirectory, 'data', `${topic}-${partition}`)
  for (const file of await readdir(folder)) {
    if (/index$|snapshot$/.test(file)) await rm(join(folder, file))
    if (!file.endsWith('.log')) continue
    const { size } = await stat(join(folder, file))
    await truncate(join(folder, file), Math.floor(size / 2))
  }
  await node.restart()
}
