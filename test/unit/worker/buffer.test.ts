import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Buffer } from '../../../src/worker/buffer.ts'
import type { ClaimedJob } from '../../../src/worker/claimed-job.ts'
import { MAX_BUFFERED, Pace } from '../../../src/worker/pace.ts'

function claimed(priority: number, place: number): ClaimedJob {
  return {
    id: String(place),
    kind: 'k',
    queue: 'q',
    priority,
    place,
    attempt: 1,
    maxAttempts: 1,
    argsJson: '{}',
    metaJson: null,
    token: 't',
    processId: 'p',
    tid: '(0,1)',
  }
}

test('jobs leave the buffer by priority, then in the order in which they were claimed', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 9 }), { maxLength: 50 }),
      fc.nat({ max: 50 }),
      (priorities, cut) => {
        const buffer = new Buffer()
        const jobs = priorities.map((priority, place) => claimed(priority, place))
        buffer.add(jobs.slice(0, cut).toReversed())
        buffer.add(jobs.slice(cut).toReversed())
        assert.equal(buffer.size, jobs.length)
        const out: ClaimedJob[] = []
        for (let job = buffer.take(); job !== undefined; job = buffer.take()) out.push(job)
        assert.deepEqual(
          out,
          jobs.toSorted((a, b) => a.priority - b.priority || a.place - b.place),
        )
        assert.equal(buffer.size, 0)
      },
    ),
  )
})

test('what is taken beyond a number leaves the most urgent ones', () => {
  const buffer = new Buffer()
  buffer.add([claimed(5, 1), claimed(0, 2), claimed(5, 3)])
  assert.deepEqual(
    buffer.takeBeyond(2).map(({ place }) => place),
    [3],
  )
  assert.deepEqual([buffer.take()?.place, buffer.take()?.place, buffer.take()], [2, 1, undefined])
})

test('nothing is claimed ahead until it is known how long jobs take', () => {
  assert.equal(new Pace(10).ahead, 0)
})

test('jobs that take microseconds are claimed far ahead, jobs that take seconds hardly', () => {
  const fast = new Pace(10)
  fast.note(0.01)
  assert.equal(fast.ahead, MAX_BUFFERED)
  const slow = new Pace(10)
  slow.note(2_000)
  assert.equal(slow.ahead, 0)
  for (let n = 0; n < 200; n += 1) fast.note(2_000)
  assert.equal(fast.ahead, 0)
})
