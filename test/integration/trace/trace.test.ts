import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { pauseConsumers, resumeConsumers } from '../../../src/consumer/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { job } from '../../../src/jobs/job.ts'
import { snooze } from '../../../src/jobs/outcome.ts'
import { retryJobs } from '../../../src/jobs/retry.ts'
import { trace, type Timeline, type TraceNode } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { gate } from '../../support/jobs.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const order = z.object({ n: z.int() })
const placed = event('order.placed', {
  topic: 'orders',
  source: 'shop',
  schema: order,
  key: ({ n }) => `order-${n}`,
})
const invoiced = event('order.invoiced', {
  topic: 'invoices',
  source: 'billing',
  schema: order,
  key: ({ n }) => `order-${n}`,
})

interface Bed {
  readonly millrace: Millrace
  readonly url: string
  /** The timeline of whatever is asked for. */
  look(asked: string): Promise<Timeline>
}

/** The shop: orders are billed, which publishes an invoice that bookkeeping writes down; mails and stock go their own ways. */
async function setup(t: TestContext): Promise<Bed> {
  const { url } = await testDatabase(t)
  const invoice = job('invoice', {
    args: order,
    backoff: () => 10,
    async handle({ n }, { attempt, effect, publish }) {
      effect('pdf.made', { pages: 1, attempt })
      if (attempt === 1) throw new Error('the printer is on fire')
      await publish(invoiced, { n })
    },
  })
  const mail = job('mail', {
    args: order,
    handle({ n }) {
      if (n === 13) throw permanent('nobody is called that')
    },
  })
  const millrace = await running(t, {
    database: url,
    run: [
      application('billing').on(
        placed,
        toJob(invoice, ({ data }) => data),
      ),
      application('mails').on(
        placed,
        toJob(mail, ({ data }) => data),
      ),
      application('books').on(
        invoiced,
        inTransaction((_event, { effect }) => effect('booked')),
      ),
    ],
  })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  return { millrace, url, look: (asked) => trace(operator, asked) }
}

/** What it looks like: one line per node, indented by its place in the tree. */
function shape({ nodes }: Timeline): string[] {
  const depths = new Map<string | null, number>([[null, -1]])
  return nodes.map(({ id, parent, type, label, state }) => {
    const depth = (depths.get(parent) ?? 0) + 1
    depths.set(id, depth)
    return `${'  '.repeat(depth)}${type} ${label}: ${state}`
  })
}

function nodeOf(timeline: Timeline, label: string): TraceNode {
  const found = timeline.nodes.find((node) => node.label === label)
  assert.ok(found, `there is no '${label}' in ${shape(timeline).join('\n')}`)
  return found
}

const WHOLE = [
  'event order.placed: in the log',
  '  application billing: handled',
  '    job invoice: completed',
  '      effect pdf.made: declared',
  '      effect pdf.made: declared',
  '      event order.invoiced: in the log',
  '        application books: done',
  '          effect booked: declared',
  '  application mails: handled',
  '    job mail: completed',
]

test('an event is followed through applications, jobs, attempts, effects and the next event, from wherever one asks', async (t) => {
  const { millrace, look } = await setup(t)
  const other = await millrace.publish(placed, { n: 1 })
  const id = await millrace.publish(placed, { n: 2 })
  await settled(millrace)
  const whole = await look(id)
  assert.deepEqual(shape(whole), WHOLE)
  assert.deepEqual(whole.branches, {
    total: 3,
    done: 3,
    waiting: 0,
    running: 0,
    retrying: 0,
    failed: 0,
  })
  assert.equal(whole.headline, 'all 3 branches done')
  assert.ok(whole.finishedAt !== null && whole.totalMs > 0)
  assert.equal(nodeOf(whole, 'order.placed').asked, true)
  assert.equal(nodeOf(whole, 'order.placed').ref.key, 'order-2')
  assert.ok(!JSON.stringify(whole).includes(other))

  const invoice = nodeOf(whole, 'invoice')
  assert.deepEqual(
    invoice.runs.map(({ attempt, outcome, error }) => [attempt, outcome, error]),
    [
      [1, 'failed', 'Error: the printer is on fire'],
      [2, 'completed', null],
    ],
  )
  assert.deepEqual(
    invoice.waits.map(({ kind }) => kind).filter((kind) => kind !== 'queue'),
    ['retry'],
  )
  assert.deepEqual(
    whole.nodes.filter(({ label }) => label === 'pdf.made').map(({ details }) => details),
    [
      { pages: 1, attempt: 1 },
      { pages: 1, attempt: 2 },
    ],
  )

  const next = nodeOf(whole, 'order.invoiced').ref
  const places = whole.nodes.flatMap(({ type, id: place }) => (type === 'event' ? [place] : []))
  const asked = [nodeOf(whole, 'mail').id, String(next.eventId), ...places]
  for (const one of asked) {
    const again = await look(one)
    assert.deepEqual(shape(again), WHOLE, one)
    const marked = again.nodes.filter((node) => node.asked)
    assert.deepEqual(
      marked.map((node) => [node.id, node.ref.eventId].includes(one)),
      [true],
      one,
    )
  }
})

test('a job that gives up is a failed branch with its dead letter, by whose number it is found', async (t) => {
  const { millrace, look } = await setup(t)
  const id = await millrace.publish(placed, { n: 13 })
  await settled(millrace)
  const timeline = await look(id)
  assert.deepEqual(shape(timeline).slice(-3), [
    '  application mails: handled',
    '    job mail: discarded',
    '      dead-letter dead letter 1: open',
  ])
  assert.equal(timeline.headline, "2 of 3 branches done; 'mail' gave up after 1 attempt")
  assert.notEqual(timeline.finishedAt, null)
  const letter = await look('1')
  assert.deepEqual(shape(letter), shape(timeline))
  assert.deepEqual(
    letter.nodes.filter(({ asked }) => asked).map(({ label }) => label),
    ['dead letter 1'],
  )
})

test('a job that somebody retried after it was discarded waited for that, and not for its back-off', async (t) => {
  const { url } = await testDatabase(t)
  const once = job('once', {
    args: z.object({}),
    maxAttempts: 1,
    handle(_args, { attempt }) {
      if (attempt === 1) throw new Error('no')
    },
  })
  const millrace = await running(t, { database: url, jobs: [once], queues: { default: 1 } })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = await millrace.insert(once, {})
  const finished = async (state: string): Promise<Timeline> =>
    eventually(async () => {
      const timeline = await trace(operator, id)
      assert.equal(nodeOf(timeline, 'once').state, state)
      return timeline
    })
  await finished('discarded')
  await retryJobs(operator, [id])
  const { waits, runs } = nodeOf(await finished('completed'), 'once')
  assert.deepEqual(
    waits.flatMap(({ kind, reason }) => (kind === 'queue' ? [] : reason)),
    ['discarded, until somebody retried it'],
  )
  assert.deepEqual(
    runs.map(({ outcome }) => outcome),
    ['failed', 'completed'],
  )
})

test('a record that an application set aside says so, with the stage and the error', async (t) => {
  const { url } = await testDatabase(t)
  const books = application('books').on(
    placed,
    inTransaction(() => {
      throw permanent('the books are closed')
    }),
  )
  const millrace = await running(t, { database: url, run: [books] })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = await millrace.publish(placed, { n: 1 })
  await settled(millrace)
  const timeline = await trace(operator, id)
  assert.deepEqual(shape(timeline), [
    'event order.placed: in the log',
    '  application books: set aside',
    '    dead-letter dead letter 1: open',
  ])
  assert.equal(timeline.headline, "0 of 1 branch done; 'books' set it aside")
  assert.match(nodeOf(timeline, 'dead letter 1').notes.join(), /^apply of .*the books are closed/)
})

test('records that were set aside are counted as such where they are not shown, and shown before others', async (t) => {
  const { url } = await testDatabase(t)
  const books = application('books', { floodBrake: false }).on(
    placed,
    inTransaction(({ data }) => {
      if (data.n >= 20) throw permanent('the books are closed')
    }),
  )
  const millrace = await running(t, { database: url, run: [books] })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const correlationId = operator.core.ids.uuid()
  const of = async (from: number, to: number): Promise<string[]> => {
    const some = Array.from({ length: to - from }, (_, n) => ({ n: from + n }))
    return millrace.publishMany(placed, some, { correlationId })
  }
  const [first] = await of(0, 20)
  await of(20, 30)
  await settled(millrace)
  const look = async (): Promise<Timeline> => trace(operator, String(first))
  const timeline = await look()
  const { total, done, failed } = timeline.branches
  assert.deepEqual({ total, done, failed }, { total: 30, done: 20, failed: 10 })
  assert.equal(timeline.headline, "20 of 30 branches done; 'books' set it aside (10 times)")
  // The one that was asked for, and of the others those that went wrong.
  assert.deepEqual(
    timeline.nodes.filter(({ type }) => type === 'application').map(({ state }) => state),
    ['done', ...Array.from({ length: 4 }, () => 'set aside')],
  )
  // One that is parked is as little done as one that is open.
  await millrace.database.query(`update millrace.dead_letter set state = 'parked'`)
  const parked = await look()
  assert.deepEqual(parked.branches, timeline.branches)
  const letter = parked.nodes.find(({ type }) => type === 'dead-letter')
  assert.deepEqual([letter?.state, letter?.outcome], ['parked', 'failed'])
})

test('what is not finished says what it waits for, and a pause by whom, also when it is over', async (t) => {
  const { millrace, url, look } = await setup(t)
  const operator = await connectOperator({ database: url, user: 'ana' })
  cleanup(t, () => operator.close())
  await pauseConsumers(operator, { application: 'billing' }, { reason: 'new printer' })
  const id = await millrace.publish(placed, { n: 3 })
  await eventually(async () => nodeOf(await look(id), 'mails').state === 'handled')
  const paused = await look(id)
  assert.equal(paused.finishedAt, null)
  assert.equal(nodeOf(paused, 'billing').state, 'not read yet')
  assert.match(paused.headline, /'billing' has not read it \(paused by ana: new printer\)/)
  assert.ok(nodeOf(paused, 'billing').waits.some(({ kind, to }) => kind === 'hold' && to === null))

  await resumeConsumers(operator, { application: 'billing' })
  await eventually(async () => (await look(id)).finishedAt !== null)
  const over = await look(id)
  const [hold] = nodeOf(over, 'billing').waits.filter(({ kind }) => kind === 'hold')
  assert.equal(hold?.reason, 'paused by ana: new printer')
  assert.notEqual(hold?.to, null)
})

test('a job that runs, sleeps, is due later or waits in line says which', async (t) => {
  const { url } = await testDatabase(t)
  const [started, go] = [gate(), gate()]
  const any = z.object({})
  const slow = job('slow', {
    args: any,
    queue: 'slow',
    async handle() {
      started.open()
      await go.opened
    },
  })
  const sleepy = job('sleepy', { args: any, handle: () => snooze('1h', 'the shop is closed') })
  const parent = job('parent', {
    args: any,
    async handle(_args, { insert }) {
      await insert(slow, {})
      await insert(sleepy, {})
      await insert(sleepy, {}, { scheduleIn: '2h', queue: 'nobody' })
      await insert(sleepy, {}, { queue: 'nobody' })
    },
  })
  const millrace = await running(t, {
    database: url,
    jobs: [parent, slow, sleepy],
    queues: { default: 5, slow: 1 },
  })
  cleanup(t, async () => go.open())
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = await millrace.insert(parent, {})
  await started.opened
  await eventually(async () => {
    const { nodes } = await trace(operator, id)
    return nodes.some(({ waits }) => waits.some(({ kind }) => kind === 'snooze'))
  })
  const timeline = await trace(operator, id)
  const children = timeline.nodes.filter(({ parent: above }) => above === id)
  assert.deepEqual(
    children.map(({ outcome, waits, runs }) => [
      outcome,
      waits.findLast(({ to }) => to === null)?.reason ?? runs.at(-1)?.outcome,
    ]),
    [
      ['running', 'running'],
      ['waiting', 'snoozed: the shop is closed'],
      ['waiting', 'not due yet'],
      ['waiting', "in line in queue 'nobody'"],
    ],
  )
  assert.match(
    timeline.headline,
    /^1 of 5 branches done; 'slow' is running \(1 of 20\); 'sleepy' sleeps, and goes on in 59 min \d+ s; /,
  )
})

test('what is not known is said, with where was looked and what to try', async (t) => {
  const { millrace, look } = await setup(t)
  const id = await millrace.publish(placed, { n: 4 })
  await settled(millrace)
  const unknown = id.replace(/.{4}$/, '0000')
  await assert.rejects(look(unknown), {
    code: 'E_TRACE_NOT_FOUND',
    message: /about the time in the id/,
  })
  await assert.rejects(look('order 17'), {
    code: 'E_TRACE_NOT_FOUND',
    message: /topic\/partition\/offset/,
  })
  await assert.rejects(look('orders/0/999999'), {
    code: 'E_TRACE_NOT_FOUND',
    message: /ends before/,
  })
  await assert.rejects(look('orders/77/0'), {
    code: 'E_TRACE_NOT_FOUND',
    message: /fewer partitions/,
  })
  await assert.rejects(look('nothing/0/0'), {
    code: 'E_TRACE_NOT_FOUND',
    message: /invoices, orders/,
  })
  await assert.rejects(look('99'), { code: 'E_DLQ_NOT_FOUND' })
})

test('what a purged record led to is still there', async (t) => {
  const { millrace, look } = await setup(t)
  const id = await millrace.publish(placed, { n: 5 })
  await settled(millrace)
  const { topic, partition, offset } = nodeOf(await look(id), 'order.placed').ref
  const found = await millrace.log.topic(String(topic))
  await millrace.log.purge(String(found?.id), Number(partition), BigInt(String(offset)) + 1n)
  const timeline = await look(id)
  assert.deepEqual(shape(timeline), ['event (record of orders): gone', ...WHOLE.slice(1)])
})

test('a foreign record whose definition makes its id is found by its place, and by that id', async (t) => {
  const { url } = await testDatabase(t)
  const sale = foreign('tills', {
    schema: z.object({ receipt: z.string() }),
    id: ({ receipt }) => receipt,
  })
  const note = job('note', { args: z.object({ receipt: z.string() }), handle: () => {} })
  const millrace = await running(t, {
    database: url,
    topics: { tills: { partitions: 1 } },
    run: [
      application('books').on(
        sale,
        toJob(note, ({ data }) => data),
      ),
    ],
  })
  const records = ['r-1', 'r-2'].map((receipt) => ({
    topic: 'tills',
    key: null,
    value: Buffer.from(JSON.stringify({ receipt })),
    headers: [],
  }))
  await millrace.log.append(records)
  await settled(millrace)
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  for (const asked of ['tills/0/1', 'r-2']) {
    const timeline = await trace(operator, asked)
    assert.deepEqual(shape(timeline), [
      'event (record of tills): in the log',
      '  application books: handled',
      '    job note: completed',
    ])
    assert.deepEqual([timeline.correlationId, timeline.nodes[0]?.id], ['r-2', 'tills/0/1'])
    assert.equal(timeline.nodes[0]?.asked, true)
  }
})
