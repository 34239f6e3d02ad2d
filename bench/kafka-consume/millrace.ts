import { createCore } from '../../src/core/core.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import type { Topic } from '../../src/log/port.ts'
import { run } from './contender.ts'

await run(async ({ brokers, topic: name }, onRecord) => {
  const log = await kafka({ brokers }).open({ core: createCore(), pool: undefined as never })
  const topic = (await log.topic(name)) as Topic
  const positions = Array.from({ length: topic.partitions }, () => 0n)
  // As the application's reader does it: all partitions in one call, whatever is at hand, and again when there is more.
  let more = Promise.withResolvers<void>()
  log.onAppend(() => more.resolve())
  for (;;) {
    more = Promise.withResolvers()
    const requests = positions.map((offset, partition) => {
      return { topic: name, topicId: topic.id, partition, offset }
    })
    let moved = false
    for (const { partition, records, nextOffset } of await log.read(requests, { wait: false })) {
      for (const { value } of records) onRecord(value)
      moved ||= nextOffset > (positions[partition] as bigint)
      positions[partition] = nextOffset
    }
    // Turns of the event loop, as handlers would take them.
    if (moved) await new Promise<void>((resolve) => setImmediate(resolve))
    else await more.promise
  }
})
