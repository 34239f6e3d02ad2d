import assert from 'node:assert/strict'
import test from 'node:test'
import { crc32c } from '@platformatic/kafka'
import { testDatabase } from '../../support/database.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { changeBatch } from '../../support/segment-file.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { kill } from '../many-processes.ts'
import { count } from '../scenarios.ts'
import { gapsOf, resolve } from './operating.ts'

/** Where fields of a batch stand. The checksum is of what follows it. */
const MAGIC_AT = 16
const CRC_AT = 17
const ATTRIBUTES_AT = 21

/** Changes that leave a batch unreadable, and what is said of it. */
const DAMAGES = [
  {
    name: 'a byte was flipped',
    says: /its checksum does not fit its bytes/,
    change: (batch: Buffer) =>
      batch.writeUInt8(batch.readUInt8(batch.length - 1) ^ 1, batch.length - 1),
  },
  {
    name: 'a codec is named that nobody knows',
    says: /it is compressed with codec 7, which is unknown/,
    change: (batch: Buffer) => {
      batch.writeInt16BE(batch.readInt16BE(ATTRIBUTES_AT) | 7, ATTRIBUTES_AT)
      batch.writeUInt32BE(crc32c(batch.subarray(ATTRIBUTES_AT)) >>> 0, CRC_AT)
    },
  },
  {
    name: 'a record format is named that nobody knows',
    says: /it has record format 3/,
    change: (batch: Buffer) => batch.writeInt8(3, MAGIC_AT),
  },
] as const

for (const { name, says, change } of DAMAGES) {
  test(`stops before a batch in which ${name}, and goes on behind it when somebody accepts that`, async (t) => {
    const cluster = await testKafka(t)
    const node = cluster.nodes[0] as KafkaNode
    const run = await ChaosRun.begin(t, {
      name: `a batch in which ${name}`,
      database: await testDatabase(t),
      log: { brokers: cluster.brokers },
      partitions: 2,
    })
    const first = run.worker({ name: 'first' })
    await run.producer.produce(40)
    await run.quiet(40_000)
    await kill(run, first)
    const read = (await run.kafka?.topic())?.partitions[0]?.end ?? 0n
    await run.producer.produce(100)
    const end = (await run.kafka?.topic())?.partitions[0]?.end ?? 0n
    const at = Date.now()
    // In the middle of what nobody has read, with batches before and behind it.
    const place = { topic: run.topic, partition: 0, offset: read + (end - read) / 2n }
    const mend = await changeBatch(node, place, change)
    run.worker({ name: 'second' })
    const [gap] = await gapsOf(run, 1)
    assert.ok(gap !== undefined)
    const { from, to } = gap
    assert.ok(from !== null && to !== null && from > read && to < end, `${from} to ${to}`)
    assert.ok(from <= place.offset && place.offset < to, `${from} to ${to}`)
    run.fault('corrupt batch', `${run.topic}/0`, at, {
      seen: gap.code === 'corrupt' && says.test(gap.found),
      text: `${gap.code} from ${from} to ${to}: ${gap.found}`,
    })
    // What stands before it is handled and so is the other partition; nothing from there on is.
    const next = async (partition: number): Promise<number> =>
      count(run, 'select next_offset::int as n from millrace.position where partition = $1', [
        partition,
      ])
    const others = Number((await run.kafka?.topic())?.partitions[1]?.end)
    await eventually(async () => (await next(1)) === others)
    assert.equal(await next(0), Number(from))
    await resolve(t, run, cluster.brokers, { decision: 'accept' })
    await run.producer.produce(20)
    await run.quiet(60_000)
    // Now others can read it: what the application passed over is just what somebody gave up.
    await mend()
    const { moves, batches } = await run.pass()
    assert.deepEqual(
      moves.map((move) => [move.position, move.to, move.givenUp]),
      [[from, to, to - from]],
    )
    assert.ok(
      batches.every((batch) => batch.partition === 1 || batch.next <= from || batch.first >= to),
    )
  })
}
