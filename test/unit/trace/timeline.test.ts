import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type {
  AttemptFact,
  DeadLetterFact,
  EventFact,
  HandlingFact,
  JobFact,
  LetterFact,
  TraceFacts,
} from '../../../src/trace/facts.ts'
import { buildGraph, eventKey, type GraphNode } from '../../../src/trace/graph.ts'
import { jobRuns } from '../../../src/trace/job-runs.ts'
import { handledAs } from '../../../src/trace/outcomes.ts'
import { timelineOf, type Timeline } from '../../../src/trace/timeline.ts'

const NOW = new Date(1_000_000)
const EVERYTHING = { depth: 100, width: 1_000, nodes: 5_000 }
const NONE: TraceFacts = {
  events: [],
  jobs: [],
  handlings: [],
  attempts: [],
  effects: [],
  letters: [],
  deadLetters: [],
  replays: [],
  holds: [],
}

function anEvent(n: number, change: Partial<EventFact> = {}): EventFact {
  return {
    id: `e${n}`,
    type: `type-${n % 2}`,
    source: 'test',
    ...placeAt(BigInt(n)),
    at: new Date(n),
    key: null,
    correlationId: 'c',
    causationId: null,
    causationRecord: null,
    traceparent: null,
    found: 'log',
    ...change,
  }
}

function aJob(n: number, change: Partial<JobFact> = {}): JobFact {
  return {
    id: `j${n}`,
    kind: `kind-${n % 2}`,
    queue: 'default',
    state: 'completed',
    attempt: 1,
    maxAttempts: 20,
    suspect: false,
    application: null,
    origin: null,
    correlationId: 'c',
    causationId: null,
    causationRecord: null,
    traceparent: null,
    createdAt: new Date(1_000 + n),
    scheduledAt: new Date(1_000 + n),
    attemptedAt: new Date(1_010 + n),
    finishedAt: new Date(1_020 + n),
    processId: null,
    error: null,
    reason: null,
    ...change,
  }
}

function originAt(offset: bigint, application: string): JobFact['origin'] {
  return { ...placeAt(offset), application, handler: 'handler', generation: 0, index: 0 }
}

function placeAt(offset: bigint) {
  return { topic: 'topic', topicId: 'topic-id', partition: 0, offset }
}

function handled(
  offset: bigint,
  application: string,
  change: Partial<HandlingFact> = {},
): HandlingFact {
  return {
    application,
    ...placeAt(offset),
    generation: 0,
    state: 'handled',
    committedAt: new Date(900),
    counts: { records: 1, done: 1, jobs: 0, filtered: 0, deadLettered: 0, filteredBy: {} },
    reason: null,
    behind: null,
    ...change,
  }
}

function applicationNode(
  handlings: readonly HandlingFact[],
): Extract<GraphNode, { readonly type: 'application' }> {
  const node = buildGraph({ ...NONE, events: [anEvent(1)], handlings }).get('topic/0/1 a')
  assert.ok(node?.type === 'application')
  return node
}

function letterIn(state: LetterFact['state']): LetterFact {
  return { id: 1n, application: 'a', ...placeAt(1n), state, closedAt: null }
}

function made(
  facts: Partial<TraceFacts>,
  limits = EVERYTHING,
  askedNode: string | null = null,
): Timeline {
  return timelineOf(
    { ...NONE, ...facts },
    { asked: 'it', askedNode, correlationId: 'c', now: NOW, limits, notes: [] },
  )
}

const MOST = 25
const cause = fc.option(
  fc.oneof(
    fc.nat(MOST).map((n) => `e${n}`),
    fc.nat(MOST).map((n) => `j${n}`),
    fc.constant('unknown'),
  ),
)

/** Facts with causes of any kind: missing ones, circles, jobs of records that are not there. */
const anyFacts = fc
  .record({
    events: fc.array(cause, { maxLength: MOST }),
    jobs: fc.array(
      fc.record({
        cause,
        origin: fc.option(fc.tuple(fc.bigInt(0n, BigInt(MOST)), fc.constantFrom('a', 'b'))),
        state: fc.constantFrom('completed', 'retryable', 'discarded', 'available', 'executing'),
      }),
      { maxLength: MOST },
    ),
    handlings: fc.array(fc.tuple(fc.bigInt(0n, BigInt(MOST)), fc.constantFrom('a', 'b'))),
  })
  .map(
    ({ events, jobs, handlings }): TraceFacts => ({
      ...NONE,
      events: events.map((causationId, n) => anEvent(n, { causationId })),
      jobs: jobs.map(({ cause: causationId, origin, state }, n) =>
        aJob(n, {
          causationId,
          origin: origin === null ? null : originAt(...origin),
          state,
          ...(state === 'completed' || state === 'discarded' ? {} : { finishedAt: null }),
        }),
      ),
      handlings: handlings.map(([offset, application]) => handled(offset, application)),
    }),
  )

function assertTree({ nodes }: Timeline): void {
  const before = new Map<string, number>()
  for (const { id, parent, depth, waits, runs } of nodes) {
    assert.ok(!before.has(id), `${id} is there twice`)
    if (parent !== null) assert.equal(depth, (before.get(parent) ?? Number.NaN) + 1)
    else assert.equal(depth, 0)
    before.set(id, depth)
    for (const { ms } of waits) assert.ok(ms >= 0)
    for (const { from, to } of runs) assert.ok(from === null || to === null || +from <= +to)
  }
}

test('every event and job is in the tree once, below what led to it, whatever the causes are', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const timeline = made(facts)
      assertTree(timeline)
      const ids = timeline.nodes.filter(({ type }) => type === 'event' || type === 'job')
      assert.deepEqual(
        ids.map(({ id }) => id).toSorted(),
        [...facts.events.map(eventKey), ...facts.jobs.map(({ id }) => id)].toSorted(),
      )
      const { total, done, waiting, running, retrying, failed } = timeline.branches
      assert.equal(total, done + waiting + running + retrying + failed)
      assert.ok(total >= facts.jobs.length)
    }),
  )
})

/** A fact's cause, if it is an earlier one of its own kind, or an event: so there are no circles. */
function earlierCause(causationId: string | null, own: string): string | null {
  const isEarlier =
    causationId?.[0] === own[0] && Number(causationId?.slice(1)) < Number(own.slice(1))
  return isEarlier || (own.startsWith('j') && causationId?.startsWith('e')) ? causationId : null
}

test('the order in which facts are found changes nothing', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const acyclic = {
        ...facts,
        events: facts.events.map((one) => ({
          ...one,
          causationId: earlierCause(one.causationId, one.id),
        })),
        jobs: facts.jobs.map((one) => ({
          ...one,
          causationId: earlierCause(one.causationId, one.id),
        })),
      }
      const turned = {
        ...acyclic,
        events: acyclic.events.toReversed(),
        jobs: acyclic.jobs.toReversed(),
        handlings: acyclic.handlings.toReversed(),
      }
      const parents = ({ nodes }: Timeline): string[] =>
        nodes.map(({ id, parent }) => `${id} < ${parent ?? ''}`).toSorted()
      assert.deepEqual(parents(made(turned)), parents(made(acyclic)))
    }),
  )
})

test('limits bound what is shown, what was asked for is always there, and the rest is counted', () => {
  const limits = fc.record({
    depth: fc.integer({ min: 1, max: 4 }),
    width: fc.integer({ min: 1, max: 3 }),
    nodes: fc.integer({ min: 10, max: 15 }),
  })
  fc.assert(
    fc.property(anyFacts, limits, fc.nat(MOST), (facts, limit, n) => {
      const asked = facts.jobs[n % Math.max(1, facts.jobs.length)]?.id ?? null
      const timeline = made(facts, limit, asked)
      assertTree(timeline)
      const own = timeline.nodes.filter(({ type }) => type !== 'more')
      const path = new Set<string>()
      const above = new Map(timeline.nodes.map(({ id, parent }) => [id, parent]))
      for (let at = asked; at !== null; at = above.get(at) ?? null) path.add(at)
      assert.ok(own.length <= Math.max(limit.nodes, path.size))
      if (asked !== null) assert.ok(own.some(({ id, asked: marked }) => id === asked && marked))
      // Below each thing, what is there and what is counted is all that there is.
      const whole = made(facts)
      for (const node of [null, ...own]) {
        const id = node?.id ?? null
        const all = whole.nodes.filter(({ parent }) => parent === id).length
        const here = timeline.nodes.filter(({ parent }) => parent === id)
        const counted = here.reduce((sum, { count = 1 }) => sum + count, 0)
        assert.equal(counted, all)
      }
    }),
  )
})

test('what only names an event as its cause stands below the one application that handled it', () => {
  const facts = {
    events: [anEvent(1), anEvent(2, { causationId: 'e1' })],
    handlings: [handled(1n, 'a'), handled(1n, 'b', { state: 'waiting', committedAt: null })],
  }
  const parentOf = (timeline: Timeline): string | null | undefined =>
    timeline.nodes.find(({ id }) => id === 'topic/0/2')?.parent
  assert.equal(parentOf(made(facts)), 'topic/0/1 a')
  const both = { ...facts, handlings: [handled(1n, 'a'), handled(1n, 'b')] }
  assert.equal(parentOf(made(both)), 'topic/0/1')
})

test('of many alike those that are not finished or went wrong come first, and the rest says its states', () => {
  const jobs = Array.from({ length: 100 }, (_, n) =>
    aJob(n, {
      kind: 'mail',
      causationId: 'e1',
      ...(n === 50 ? { state: 'discarded' } : {}),
      ...(n === 70 ? { state: 'retryable', finishedAt: null } : {}),
    }),
  )
  const { nodes, headline } = made({ events: [anEvent(1)], jobs }, { ...EVERYTHING, width: 3 })
  assert.deepEqual(
    nodes.map(({ id, count, states }) => (count === undefined ? id : [count, states])),
    ['topic/0/1', 'j0', 'j50', 'j70', [97, { completed: 97 }]],
  )
  assert.equal(
    headline,
    "98 of 100 branches done; 'mail' gave up after 1 attempt; 'mail' is retrying (2 of 20) now",
  )
})

test('of many events alike those come first under which something is not finished or went wrong', () => {
  const events = Array.from({ length: 9 }, (_, n) => anEvent(2 * n))
  const jobs = events.map(({ offset }, n) =>
    aJob(n, {
      kind: 'mail',
      origin: originAt(offset as bigint, 'a'),
      state: n === 5 ? 'discarded' : 'completed',
    }),
  )
  const handlings = events.map(({ offset }) => handled(offset as bigint, 'a'))
  const { nodes } = made({ events, jobs, handlings }, { ...EVERYTHING, width: 2 })
  assert.deepEqual(
    nodes.flatMap(({ type, id, count }) => (type === 'application' ? [] : [count ?? id])),
    ['topic/0/0', 'j0', 'topic/0/10', 'j5', 7],
  )
})

test('effects of an event that stands in the log twice are shown once, and both records say so', () => {
  const twice = [anEvent(1), anEvent(2, { id: 'e1' }), anEvent(3)]
  const handlings = ['a', 'b'].flatMap((name) => [1n, 2n, 3n].map((at) => handled(at, name)))
  const effect = { jobId: null, attempt: null, handler: 'h', details: null, at: new Date(50) }
  const effects = [
    { ...effect, eventId: 'e1', application: 'a', name: 'booked' },
    { ...effect, eventId: 'e1', application: 'a', name: 'booked' },
    { ...effect, eventId: 'e3', application: 'a', name: 'other' },
  ]
  const { nodes } = made({ events: twice, handlings, effects })
  const notYet = handled(1n, 'a', { state: 'waiting', committedAt: null })
  const later = made({ events: twice, handlings: [notYet, handled(2n, 'a')], effects })
  assert.deepEqual(
    later.nodes.filter(({ type }) => type === 'effect').map(({ parent }) => parent),
    ['topic/0/2 a', 'topic/0/2 a'],
  )
  assert.deepEqual(
    nodes.filter(({ type }) => type === 'effect').map(({ parent, label }) => [parent, label]),
    [
      ['topic/0/1 a', 'booked'],
      ['topic/0/1 a', 'booked'],
      ['topic/0/3 a', 'other'],
    ],
  )
  assert.deepEqual(
    nodes.flatMap(({ id, type, notes }) =>
      type === 'application' && notes.length > 0 ? [[id, ...notes]] : [],
    ),
    [
      ['topic/0/1 a', 'the event was read from 2 records, and the effects are of all of them'],
      ['topic/0/2 a', 'effects of this event are shown at topic/0/1'],
    ],
  )
})

test('a batch that filtered some of its records leaves a doubt, and it is told', () => {
  const counts = {
    records: 3,
    done: 2,
    jobs: 0,
    filtered: 1,
    deadLettered: 0,
    filteredBy: { old: 1 },
  }
  const stateOf = (change: Partial<HandlingFact>): unknown => {
    const { nodes } = made({ events: [anEvent(1)], handlings: [handled(1n, 'a', change)] })
    return [nodes[1]?.state, nodes[1]?.notes]
  }
  assert.deepEqual(stateOf({}), ['done', []])
  assert.deepEqual(stateOf({ counts: { ...counts, done: 0 } }), ['filtered', ['old']])
  assert.deepEqual(stateOf({ counts }), [
    'done or filtered',
    ['of the 3 records of its batch 1 were filtered: old'],
  ])
})

test('a record that is to be read again is not done, whatever became of its dead letter', () => {
  const waiting = handled(1n, 'a', { generation: 1, state: 'waiting', counts: null })
  const node = applicationNode([handled(1n, 'a'), waiting])
  assert.equal(handledAs(node, [letterIn('replayed')]).outcome, 'waiting')
  assert.equal(handledAs(node, [letterIn('discarded')]).outcome, 'waiting')
  assert.equal(handledAs(node, [letterIn('open')]).outcome, 'failed')
})

test('a record of a batch that was set aside as a whole was set aside', () => {
  const counts = { records: 2, done: 0, jobs: 0, filtered: 0, deadLettered: 2, filteredBy: {} }
  const { state, outcome, notes } = handledAs(applicationNode([handled(1n, 'a', { counts })]), [])
  assert.deepEqual([state, outcome], ['set aside', 'failed'])
  assert.match(notes.join(), /its dead letter was not found/)
  const some = { ...counts, done: 1, deadLettered: 1 }
  const other = handledAs(applicationNode([handled(1n, 'a', { counts: some })]), [])
  assert.deepEqual([other.state, other.outcome], ['done', 'done'])
})

test('the waits and runs of a job cover its whole life, each with its reason', () => {
  const failed = (attempt: number, from: number, to: number): AttemptFact => ({
    jobId: 'j1',
    attempt,
    outcome: attempt === 2 ? 'lost' : 'failed',
    error: null,
    processId: 'p',
    attemptedAt: new Date(from),
    finishedAt: new Date(to),
  })
  const job = aJob(1, {
    state: 'retryable',
    attempt: 2,
    createdAt: new Date(0),
    scheduledAt: new Date(2_000_000),
    attemptedAt: new Date(500),
    finishedAt: null,
  })
  const attempts = [failed(2, 500, 900), failed(1, 100, 200), failed(3, 950, 1_000)]
  const { nodes, headline } = made({ jobs: [job], attempts })
  assert.deepEqual(
    nodes[0]?.waits.map(({ kind, reason, from, to }) => [kind, reason, +from, to && +to]),
    [
      ['queue', "in line in queue 'default', or not due yet", 0, 100],
      ['retry', 'back-off after attempt 1', 200, 500],
      ['retry', 'taken back after its process died', 900, 950],
      ['retry', 'back-off after attempt 3', 1_000, null],
    ],
  )
  assert.deepEqual(
    nodes[0]?.runs.map(({ outcome }) => outcome),
    ['failed', 'lost', 'failed'],
  )
  assert.match(headline, /'kind-1' is retrying \(3 of 20\) in 16 min 40 s/)
})

test('what waited for somebody to retry it says so, and not that its back-off was long', () => {
  const DAY = 86_400_000
  const failed = (attempt: number, from: number, to: number): AttemptFact => ({
    jobId: 'j1',
    attempt,
    outcome: 'failed',
    error: null,
    processId: 'p',
    attemptedAt: new Date(from),
    finishedAt: new Date(to),
  })
  const letter: DeadLetterFact = {
    id: 1n,
    handler: 'kind-1',
    stage: 'job',
    jobId: 'j1',
    error: { class: 'Error', message: 'no' },
    attempts: 2,
    state: 'replayed',
    createdAt: new Date(401),
    closedAt: new Date(2 * DAY),
    replays: 0,
  }
  const first = [failed(1, 100, 200), failed(2, 300, 400)]
  const waits = (
    change: Partial<JobFact>,
    attempts: readonly AttemptFact[],
    one: Partial<DeadLetterFact> = {},
    now = new Date(3 * DAY),
  ): unknown[] => {
    const job = aJob(1, { createdAt: new Date(100), ...change })
    const { waits: found } = jobRuns(job, attempts, now, [{ ...letter, ...one }])
    return found.map(({ kind, reason, from, to }) => [kind, reason, +from, to && +to])
  }
  const before = ['retry', 'back-off after attempt 1', 200, 300]
  const held = ['hold', 'discarded, until somebody retried it', 400, 2 * DAY]
  const queue = (to: number | null): unknown => ['queue', "in line in queue 'default'", 2 * DAY, to]
  const scheduledAt = new Date(2 * DAY)
  // Completed by the attempt after.
  const completed = { attemptedAt: new Date(2 * DAY + 50), finishedAt: new Date(2 * DAY + 60) }
  assert.deepEqual(waits({ attempt: 3, scheduledAt, ...completed }, first), [
    before,
    held,
    queue(2 * DAY + 50),
  ])
  // Still in line.
  const open = { attempt: 2, attemptedAt: new Date(300), finishedAt: null }
  assert.deepEqual(waits({ ...open, state: 'available', scheduledAt }, first), [
    before,
    held,
    queue(null),
  ])
  // Failed again, and backs off.
  const third = failed(3, 2 * DAY + 50, 2 * DAY + 60)
  const again = { attempt: 3, attemptedAt: third.attemptedAt, finishedAt: null }
  const due = new Date(4 * DAY)
  assert.deepEqual(waits({ ...again, state: 'retryable', scheduledAt: due }, [...first, third]), [
    before,
    held,
    queue(2 * DAY + 50),
    ['retry', 'back-off after attempt 3', 2 * DAY + 60, null],
  ])
  // Discarded again: when it was retried before is not kept any more.
  const last = { ...again, state: 'discarded', finishedAt: third.finishedAt, scheduledAt } as const
  const newer = {
    createdAt: new Date(2 * DAY + 61),
    state: 'open',
    closedAt: null,
    replays: 1,
  } as const
  const doubt = (attempt: number): string =>
    `back-off after attempt ${attempt}, or discarded, until somebody retried it`
  assert.deepEqual(waits(last, [...first, third], newer), [
    ['retry', doubt(1), 200, 300],
    ['retry', doubt(2), 400, 2 * DAY],
    queue(2 * DAY + 50),
  ])
  // The attempt that gave it up on purpose is not kept: only its letter is.
  const given = { attempts: 3, createdAt: new Date(900) }
  assert.deepEqual(waits({ attempt: 4, scheduledAt, ...completed }, first, given), [
    before,
    ['retry', 'back-off after attempt 2', 400, 900],
    ['hold', 'discarded, until somebody retried it', 900, 2 * DAY],
    queue(2 * DAY + 50),
  ])
})
