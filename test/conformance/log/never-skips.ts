import assert from 'node:assert/strict'
import { type Random, seededRandom } from '../../../src/core/random.ts'
import type { Topic } from '../../../src/log/port.ts'
import { type Harness, readOnce, record, valueOf } from './harness.ts'

/**
 * The one thing a log must never do, step by step: a transaction draws its offset first and commits last, while somebody
 * reads all the time. Deterministic.
 * @throws AssertionError `… was passed over` when the reader does not get every commit.
 */
export async function neverSkips({ log, begin }: Harness): Promise<void> {
  const topic = await log.createTopic('never-skips', { partitions: 1 })
  const seen: string[] = []
  let position = 0n
  const read = async (): Promise<void> => {
    const result = await readOnce(log, topic, { offset: position })
    assert.equal(result.outOfRange, undefined)
    assert.ok(result.nextOffset >= position, 'a reader is never sent back')
    seen.push(...result.records.map(valueOf))
    position = result.nextOffset
  }
  const early = await begin()
  await early.append([record(topic.name, 'early')])
  const gone = await begin()
  await gone.append([record(topic.name, 'rolled back')])
  await log.append([record(topic.name, 'meanwhile')])
  await read()
  await read()
  await gone.rollback()
  await log.append([record(topic.name, 'later')])
  await read()
  await early.append([record(topic.name, 'early again')])
  await read()
  await early.commit()
  await read()
  await read()
  for (const value of ['early', 'meanwhile', 'later', 'early again']) {
    assert.ok(seen.includes(value), `the commit of '${value}' was passed over`)
  }
  assert.deepEqual(seen, ['early', 'meanwhile', 'later', 'early again'])
}

interface Written {
  readonly key: string
  readonly value: string
}

/**
 * Many writers in short and in long transactions, some of them rolled back, while several readers follow: every reader
 * gets every commit once, nothing else, and each key in the order in which it was written.
 */
export async function everyReaderGetsEveryCommit(
  harness: Harness,
  options: {
    readonly seed: number
    readonly writers: number
    readonly transactions: number
    readonly transactional: boolean
  },
): Promise<void> {
  const { log } = harness
  const topic = await log.createTopic('many-writers', { partitions: 3 })
  let writing = true
  const writers = Array.from({ length: options.writers }, (_, n) =>
    write(harness, topic, `w-${n}`, seededRandom(options.seed + n), options),
  )
  const readers = Array.from({ length: 3 }, () => follow(harness, topic, () => writing))
  const [perWriter, perReader] = await Promise.all([
    Promise.all(writers).finally(() => {
      writing = false
    }),
    Promise.all(readers),
  ])
  const committed = perWriter.flat()
  for (const got of perReader) {
    assert.deepEqual(
      got.map(({ value }) => value).sort(),
      committed.map(({ value }) => value).sort(),
    )
    for (const [key, ofKey] of Map.groupBy(committed, (one) => one.key)) {
      const values = got.filter((one) => one.key === key).map(({ value }) => value)
      assert.deepEqual(
        values,
        ofKey.map(({ value }) => value),
        `the order of key ${key}`,
      )
    }
  }
}

/** What was committed, in order. Each writer has a key of its own. */
async function write(
  { log, begin }: Harness,
  topic: Topic,
  key: string,
  random: Random,
  {
    transactions,
    transactional,
  }: { readonly transactions: number; readonly transactional: boolean },
): Promise<Written[]> {
  const committed: Written[] = []
  let next = 0
  const some = (): Written[] =>
    Array.from({ length: 1 + Math.floor(random.next() * 4) }, () => ({
      key,
      value: `${key}/${(next += 1)}`,
    }))
  const toRecords = (written: readonly Written[]): ReturnType<typeof record>[] =>
    written.map(({ value }) => record(topic.name, value, { key: Buffer.from(key) }))
  for (let done = 0; done < transactions; done += 1) {
    if (!transactional || random.next() < 0.4) {
      const written = some()
      await log.append(toRecords(written))
      committed.push(...written)
      continue
    }
    const transaction = await begin()
    const mine: Written[] = []
    for (let rounds = Math.floor(random.next() * 6); rounds >= 0; rounds -= 1) {
      const written = some()
      await transaction.append(toRecords(written))
      mine.push(...written)
      // Time goes by, as long as the others need to get something done.
      for (let idle = Math.floor(random.next() * 5); idle > 0; idle -= 1)
        await log.topic(topic.name)
    }
    if (random.next() < 0.25) await transaction.rollback()
    else {
      await transaction.commit()
      committed.push(...mine)
    }
  }
  return committed
}

async function follow({ log }: Harness, topic: Topic, writing: () => boolean): Promise<Written[]> {
  const got: Written[] = []
  const positions = Array.from({ length: topic.partitions }, () => 0n)
  for (let last = false; ; ) {
    // Read once more after the last commit, to the end.
    const more = writing()
    const results = await log.read(
      positions.map((offset, partition) => ({
        topic: topic.name,
        topicId: topic.id,
        partition,
        offset,
        maxRecords: 7,
      })),
    )
    let moved = false
    for (const { partition, records, nextOffset, outOfRange } of results) {
      assert.equal(outOfRange, undefined)
      const position = positions[partition] as bigint
      let previous = position - 1n
      for (const one of records) {
        assert.ok(one.offset > previous, 'offsets grow within a read and from read to read')
        previous = one.offset
        got.push({ key: Buffer.from(one.key ?? []).toString(), value: valueOf(one) })
      }
      assert.ok(nextOffset > previous && nextOffset >= position)
      moved ||= nextOffset > position
      positions[partition] = nextOffset
    }
    if (last && !moved) return got
    last = !more
  }
}
