import assert from 'node:assert/strict'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Kafka } from './kafka.ts'

/** Changes bytes in the newest file of a partition (`<topic>-<number>`) on the first broker's disk. */
export async function flipBytes(
  cluster: Kafka,
  partition: string,
  from: string,
  to: string,
): Promise<void> {
  const directory = join(cluster.nodes[0]?.logDirectory ?? '', 'data', partition)
  const files = (await readdir(directory)).filter((name) => name.endsWith('.log')).sort()
  const file = await open(join(directory, files.at(-1) ?? ''), 'r+')
  try {
    const place = (await file.readFile()).indexOf(from)
    assert.ok(place > 0, 'the bytes are in the file')
    await file.write(Buffer.from(to), 0, to.length, place)
  } finally {
    await file.close()
  }
}
