import assert from 'node:assert/strict'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { KafkaNode } from './kafka.ts'

/** Of a batch as it is stored: its length begins behind its first offset, and does not count the two. */
const LENGTH_AT = 8
const BEFORE_LENGTH = 12

/**
 * Changes the batch that holds an offset, in the file in which a broker keeps it: `change` gets its bytes, of which it must
 * leave the length. Gives what puts it right again.
 */
export async function changeBatch(
  node: KafkaNode,
  place: { readonly topic: string; readonly partition: number; readonly offset: bigint },
  change: (batch: Buffer) => void,
): Promise<() => Promise<void>> {
  const directory = join(node.logDirectory, 'data', `${place.topic}-${place.partition}`)
  const [name] = (await readdir(directory)).filter((file) => file.endsWith('.log')).sort()
  const file = join(directory, name ?? '')
  const handle = await open(file, 'r+')
  try {
    const bytes = await handle.readFile()
    const at = batchAt(bytes, place.offset)
    const length = BEFORE_LENGTH + bytes.readInt32BE(at + LENGTH_AT)
    const before = Buffer.from(bytes.subarray(at, at + length))
    const after = Buffer.from(before)
    change(after)
    assert.ok(!after.equals(before), 'the batch is another')
    await handle.write(after, 0, length, at)
    return async () => {
      const again = await open(file, 'r+')
      try {
        await again.write(before, 0, length, at)
      } finally {
        await again.close()
      }
    }
  } finally {
    await handle.close()
  }
}

/** Where the batch begins that holds an offset: the last one that does not begin behind it. */
function batchAt(bytes: Buffer, offset: bigint): number {
  let found = 0
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readBigInt64BE(at) > offset) break
    found = at
    at += BEFORE_LENGTH + bytes.readInt32BE(at + LENGTH_AT)
  }
  return found
}
