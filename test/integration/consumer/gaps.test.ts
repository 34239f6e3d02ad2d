import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { listGaps } from '../../../src/consumer/queries.ts'
import type { Log, ReadRequest, ReadResult } from '../../../src/log/port.ts'
import { tableLog } from '../../../src/log/table-log.ts'
import { loseTail, recreateTopic } from '../../support/log-damage.ts'
import type { LogLine } from '../../support/millrace.ts'
import {
  ALARM,
  counted,
  counting,
  numbers,
  operated,
  type Operated,
} from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const alarms = (lines: readonly LogLine[]): readonly LogLine[] =>
  lines.filter(({ level, message }) => level === 'error' && message === ALARM)

describe('a log that is not what it was leaves a gap row, which', () => {
  it('names both topics when one was made anew', async (t) => {
    const { log, start, gap, topicId, done } = await operated(t)
    const topic = await recreateTopic(log, 'numbers')
    const { millrace, lines } = await start()
    await millrace.publishMany(counted, numbers(0, 3))
    const found = await gap()
    assert.deepEqual(
      [found.code, found.topicId, found.from, found.to, found.evidence.newTopicId],
      ['topic-recreated', topicId, 5n, null, topic.id],
    )
    assert.equal(found.evidence.lastOffset, '4')
    assert.match(found.evidence.expectedHash ?? '', /^[0-9a-f]{64}$/)
    assert.equal(alarms(lines).length, 1)
    assert.equal(alarms(lines)[0]?.fields['gap'], String(found.id))
    assert.equal((await done()).length, 5)
  })

  it('says that the topic is gone when it was deleted', async (t) => {
    const { log, start, gap, pool } = await operated(t)
    await start()
    await log.deleteTopic('numbers')
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['topic-deleted', 5n, null])
    await eventually(
      async () =>
        (await pool.query('select from millrace.position where halted is not null')).rowCount === 1,
    )
  })

  it('has the bounds of what was purged before it was read', async (t) => {
    const { log, start, gap, topicId, done } = await operated(t)
    const writer = await start({ app: counting('other') })
    await writer.millrace.publishMany(counted, numbers(5, 10))
    await log.purge(topicId, 0, 8n)
    const { lines } = await start()
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['before-start', 5n, 8n])
    assert.deepEqual([found.evidence.logStart, found.evidence.logEnd], ['8', '10'])
    // It is said once the row is there.
    await eventually(() => alarms(lines).length > 0)
    assert.equal(alarms(lines).length, 1)
    assert.equal((await done()).length, 5)
  })

  it('has the bounds of a tail that was lost', async (t) => {
    const { pool, start, gap, topicId } = await operated(t)
    await loseTail(pool, topicId, 0, 2n)
    await start()
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['behind-end', 2n, 5n])
  })

  it('has both hashes when a record was rewritten', async (t) => {
    const { pool, start, gap } = await operated(t)
    await pool.query(`update millrace.record set value = 'another' where "offset" = 4`)
    await start()
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['diverged', null, 5n])
    assert.match(found.evidence.foundHash ?? '', /^[0-9a-f]{64}$/)
    assert.notEqual(found.evidence.foundHash, found.evidence.expectedHash)
  })

  it('is found by an older record when the last one was taken away', async (t) => {
    const { pool, start, gap, take } = await compacted(t)
    await take(7n)
    await pool.query(`update millrace.record set value = 'another' where "offset" = 4`)
    await start()
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['diverged', null, 8n])
    assert.match(found.found, /offset 4 is not the one/)
  })

  it('is found by a record that stands where there was a hole', async (t) => {
    const { pool, start, gap, done } = await operated(t)
    const { millrace } = await start()
    const rolledBack = millrace.transaction(async (tx) => {
      await tx.publish(counted, { n: 5 })
      throw new Error('rolled back')
    })
    await assert.rejects(rolledBack, /rolled back/)
    const next = 'select from millrace.position where next_offset = 6 and last_offset = 4'
    await eventually(async () => (await pool.query(next)).rowCount === 1)
    await millrace.stop()
    await pool.query('update millrace.record set "offset" = 5 where "offset" = 3')
    await start()
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['diverged', 5n, 6n])
    assert.equal((await done()).length, 5)
  })

  it('is none when records that were handled were taken away', async (t) => {
    const { start, caughtUp, take, pool, done } = await compacted(t)
    await take(7n)
    const first = await start()
    await caughtUp()
    assert.equal(unverifiable(first.lines), 0)
    await first.millrace.stop()
    // One that cannot be seen any more says it once, and goes on.
    for (const offset of [0n, 1n, 2n, 3n, 4n, 5n, 6n]) await take(offset)
    const { millrace, lines } = await start()
    await eventually(() => unverifiable(lines) === 1)
    await millrace.publishMany(counted, numbers(8, 10))
    await caughtUp()
    assert.equal((await done()).length, 10)
    assert.equal(unverifiable(lines), 1)
    assert.equal((await listGaps(pool)).length, 0)
  })

  it('has the bounds of what cannot be read, and what stands before it is handled', async (t) => {
    const { start, gap, done } = await operated(t)
    const kind = 'table'
    const log = {
      kind,
      open: (...args: Parameters<ReturnType<typeof tableLog>['open']>) =>
        unreadableFrom(tableLog().open(...args), 7n, 9n),
    }
    const { millrace } = await start({ log })
    await millrace.publishMany(counted, numbers(5, 12))
    const found = await gap()
    assert.deepEqual([found.code, found.from, found.to], ['corrupt', 7n, 9n])
    assert.match(found.found, /^what stands at offset 7 cannot be read: its checksum is wrong$/)
    assert.deepEqual(
      (await done()).map(({ n }) => n),
      [0, 1, 2, 3, 4, 5, 6],
    )
  })

  it('is written once, by whichever process finds it first', async (t) => {
    const { pool, start, gap, topicId } = await operated(t)
    await loseTail(pool, topicId, 0, 2n)
    const [one, two] = await Promise.all([start(), start()])
    await gap()
    const third = await start()
    assert.equal((await listGaps(pool)).length, 1)
    assert.equal([one, two, third].flatMap(({ lines }) => alarms(lines)).length, 1)
  })
})

const unverifiable = (lines: readonly LogLine[]): number =>
  lines.filter(({ message }) => message.startsWith('none of the records that were handled')).length

/** Numbers up to 7 were handled, in batches of which one ends with 4 and one with 7. `take` does what compaction does. */
async function compacted(
  t: TestContext,
): Promise<Operated & { readonly take: (offset: bigint) => Promise<void> }> {
  const all = await operated(t)
  const { millrace } = await all.start()
  await millrace.publishMany(counted, numbers(5, 8))
  await all.caughtUp()
  await millrace.stop()
  const sql = 'delete from millrace.record where topic_id = $1 and "offset" = $2'
  const take = async (offset: bigint): Promise<void> => {
    await all.pool.query(sql, [all.topicId, offset])
  }
  return { ...all, take }
}

/** `log` with offsets that cannot be read. */
function unreadableFrom(log: Log, from: bigint, to: bigint): Log {
  const read = async (requests: readonly ReadRequest[]): Promise<ReadResult[]> => {
    const results = await log.read(requests)
    return results.map((result, index): ReadResult => {
      const { offset } = requests[index] as ReadRequest
      const records = result.records.filter((record) => record.offset < from || offset >= to)
      if (records.length === result.records.length) return result
      const rest = { ...result, records, nextOffset: from }
      return offset < from ? rest : { ...rest, corrupt: { to, reason: 'its checksum is wrong' } }
    })
  }
  return new Proxy(log, {
    get(target, name) {
      if (name === 'read') return read
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value
    },
  })
}
