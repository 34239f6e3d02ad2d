// Uses a log in every way, closes it in the midst of things, and ends by itself when nothing is left.
import { createCore } from '../../../src/core/core.ts'
import { kafka } from '../../../src/kafka/kafka.ts'

const before = process.getActiveResourcesInfo()
const environment = { core: createCore(), pool: undefined as never }
const log = await kafka({ brokers: process.argv[2] ?? '' }).open(environment)
const name = `closing-${process.pid}`
const topic = await log.createTopic(name, { partitions: 2 })
const request = { topic: name, topicId: topic.id, partition: 0, offset: 0n }
await log.append([{ topic: name, key: null, value: Buffer.from('x'), headers: [], partition: 0 }])
await log.read([request])
// At the end: watched from now on.
await log.read([{ ...request, offset: 1n }], { wait: false })
await log.noteCommitted?.(name, [{ ...request, next: 1n }])
const appending = log.append([
  { topic: name, key: null, value: Buffer.from('y'), headers: [], partition: 1 },
])
const reading = log.read([{ ...request, partition: 1 }]).catch(() => {})
await log.close()
await log.close()
await appending
await reading
// What libraries leave to the next turn.
await new Promise<void>((resolve) => setImmediate(resolve))
const left = process.getActiveResourcesInfo().filter((kind) => !before.includes(kind))
console.log(`closed with nothing left: ${left.join()}`)
