import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../../src/app/operator.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { StopReason } from '../../../src/core/abort.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import type { Log } from '../../../src/log/port.ts'
import type { Queryable, Row } from '../../../src/postgres/queryable.ts'
import { trace, type TraceMemory, type TraceParts } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'

const schema = z.object({ n: z.int() })
const placed = event('order.placed', { topic: 'orders', source: 'shop', schema, key: () => null })
const mail = job('mail', { args: schema, handle: () => {} })

interface Bed {
  readonly millrace: Millrace
  readonly operator: Operator
  readonly parts: TraceParts
  /** Searches of the log for an id so far. */
  searches(): number
}

async function setup(t: TestContext): Promise<Bed> {
  const { url } = await testDatabase(t)
  const mails = application('mails').on(
    placed,
    toJob(mail, ({ data }) => data),
  )
  const millrace = await running(t, { database: url, run: [mails] })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  let searches = 0
  const pool: Queryable = {
    query<R extends Row>(text: string, values?: readonly unknown[]) {
      if (text.includes('millrace:trace-records') && String(values?.[2]).includes('ce_id')) {
        searches += 1
      }
      return (operator.pool as Queryable).query<R>(text, values)
    },
  }
  const parts = { core: operator.core, pool, log: () => operator.log() }
  return { millrace, operator, parts, searches: () => searches }
}

test('the beginning is not looked for when it is what was found, nor again when it is nowhere', async (t) => {
  const { millrace, parts, searches } = await setup(t)
  const id = await millrace.publish(placed, { n: 1 })
  await settled(millrace)
  const found = await trace(parts, id)
  assert.equal(searches(), 1)
  const { topic, partition, offset } = found.nodes[0]?.ref ?? {}
  const jobId = found.nodes.find(({ type }) => type === 'job')?.id as string
  const { id: topicId } = (await millrace.log.topic(String(topic))) ?? assert.fail('no topic')
  await millrace.log.purge(topicId, Number(partition), BigInt(String(offset)) + 1n)

  const memory: TraceMemory = new Map()
  for (const asked of [jobId, jobId, id]) {
    const { nodes } = await trace(parts, asked, { memory })
    assert.deepEqual(
      nodes.map(({ type, state }) => [type, state]),
      [
        ['event', 'gone'],
        ['application', 'handled'],
        ['job', 'completed'],
      ],
    )
  }
  // Once, around the time in the id, near it and far from it: the place of the record that is gone is known by its job.
  const once = searches() - 1
  assert.ok(once > 0 && once <= 4, `${once} searches`)
})

test('a trace ends with its signal in the middle of a search', async (t) => {
  const { millrace, operator } = await setup(t)
  await millrace.publish(placed, { n: 1 })
  await settled(millrace)
  const inside = await operator.log()
  const abort = new AbortController()
  let reads = 0
  // As any log that can be searched by reading only.
  const log: Log = {
    kind: 'other',
    transactional: true,
    createTopic: (name, options) => inside.createTopic(name, options),
    deleteTopic: (name) => inside.deleteTopic(name),
    topic: (name) => inside.topic(name),
    topics: () => inside.topics(),
    offsets: (topicId, options) => inside.offsets(topicId, options),
    offsetAt: (topicId, partition, time) => inside.offsetAt(topicId, partition, time),
    read: (requests, options) => {
      reads += 1
      abort.abort(new StopReason('enough'))
      return inside.read(requests, options)
    },
    onAppend: (listener) => inside.onAppend(listener),
    append: (records, options) => inside.append(records, options),
    purge: (topicId, partition, before) => inside.purge(topicId, partition, before),
    close: () => inside.close(),
  }
  const { core, pool } = operator
  const parts = { core, pool, log: () => Promise.resolve(log) }
  await assert.rejects(trace(parts, core.ids.uuid(), { signal: abort.signal }), /enough/)
  assert.equal(reads, 1)
})

test('an id is taken as it is written, and else as one that was written in capitals', async (t) => {
  const { millrace, operator, parts } = await setup(t)
  const upper = operator.core.ids.uuid().toUpperCase()
  await millrace.log.append([
    {
      topic: 'orders',
      key: null,
      value: Buffer.from('{"n":1}'),
      headers: Object.entries({
        ce_specversion: '1.0',
        ce_id: upper,
        ce_source: 'elsewhere',
        ce_type: 'order.placed',
      }).map(([name, value]) => [name, Buffer.from(value)] as const),
    },
  ])
  const id = await millrace.publish(placed, { n: 2 })
  await settled(millrace)
  const found = await trace(parts, upper)
  assert.deepEqual([found.nodes[0]?.ref.eventId, found.nodes[0]?.asked], [upper, true])
  assert.equal(found.headline, 'the only branch is done')
  const other = await trace(parts, id.toUpperCase())
  assert.deepEqual([other.nodes[0]?.ref.eventId, other.nodes[0]?.asked], [id, true])
  const made = other.nodes.find(({ type }) => type === 'job')?.id ?? ''
  const byJob = await trace(parts, made.toUpperCase())
  assert.equal(byJob.nodes.find(({ asked }) => asked)?.id, made)
})
