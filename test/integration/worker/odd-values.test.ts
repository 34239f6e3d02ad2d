import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { gate, jobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const numbered = z.object({ n: z.int() })

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function throwing(property: string, target: object): object {
  return Object.defineProperty(target, property, {
    get() {
      throw new Error(`no ${property} here`)
    },
  })
}

function having(property: string, value: unknown, target: object = {}): object {
  return Object.defineProperty(target, property, { value })
}

const bare: object = Object.create(null)

const THROWN: readonly unknown[] = [
  Object.assign(new Error('x'), { message: ['a'] }),
  bare,
  revoked(),
  throwing('stack', new Error('x')),
  throwing('message', new Error('x')),
  throwing('code', throwing('millraceError', {})),
  { toString: () => bare },
  Symbol('thrown'),
  Object.assign(new Error('x'), { cause: revoked() }),
]

const RETURNED: readonly (readonly [value: unknown, state: 'cancelled' | 'retryable'])[] = [
  [{ outcome: 'cancel', reason: bare }, 'cancelled'],
  [{ outcome: 'cancel', reason: revoked() }, 'cancelled'],
  [{ outcome: 'cancel', reason: Symbol('why') }, 'cancelled'],
  [{ outcome: 'cancel', reason: ['a', 'b'] }, 'cancelled'],
  [throwing('reason', { outcome: 'cancel' }), 'retryable'],
  [throwing('outcome', {}), 'retryable'],
  [throwing('then', {}), 'retryable'],
  [revoked(), 'retryable'],
  [{ outcome: 'snooze', waitMs: Number.NaN }, 'retryable'],
  [{ outcome: 'snooze', waitMs: Number.POSITIVE_INFINITY }, 'retryable'],
]

for (const isAsync of [false, true]) {
  const how = isAsync ? 'later' : 'at once'

  test(`whatever a handler throws ${how}, its attempt fails and the worker goes on`, async (t) => {
    const bed = await jobsBed(t)
    const odd = job('odd', {
      args: numbered,
      backoff: () => 60_000,
      handle({ n }) {
        if (!(n in THROWN)) return
        if (!isAsync) throw THROWN[n]
        return Promise.resolve().then(() => {
          throw THROWN[n]
        })
      },
    })
    // A single place: one that is never given back shows at the end.
    await bed.work([odd], { queues: { default: 1 } })
    const jobs = Array.from({ length: THROWN.length + 1 }, (_, n) => newJob(bed.core, odd, { n }))
    await insertJobsNow(bed, jobs)
    await bed.untilState(jobs.at(-1)?.id ?? '', 'completed')
    for (const { id } of jobs.slice(0, -1)) {
      const back = await bed.untilState(id, 'retryable')
      assert.deepEqual(
        back.attempts.map(({ outcome, error }) => [outcome, typeof error?.message]),
        [['failed', 'string']],
      )
    }
  })

  test(`whatever a handler returns ${how}, its job is not lost and the worker goes on`, async (t) => {
    const bed = await jobsBed(t)
    const odd = job('odd', {
      args: numbered,
      backoff: () => 60_000,
      handle({ n }) {
        const value = RETURNED[n]?.[0] as undefined
        if (!isAsync) return value
        return Promise.resolve().then(() => value)
      },
    })
    await bed.work([odd], { queues: { default: 1 } })
    const jobs = Array.from({ length: RETURNED.length + 1 }, (_, n) => newJob(bed.core, odd, { n }))
    await insertJobsNow(bed, jobs)
    await bed.untilState(jobs.at(-1)?.id ?? '', 'completed')
    for (const [n, [, state]] of RETURNED.entries()) {
      const back = await bed.untilState(jobs[n]?.id ?? '', state)
      if (state === 'retryable') assert.equal(back.attempts[0]?.outcome, 'failed')
      else assert.equal(typeof back.reason, 'string')
    }
  })
}

test('a promise of another make that settles twice ends its attempt once', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  let running = 0
  let most = 0
  const twice = job('twice', {
    args: numbered,
    handle({ n }) {
      if (n > 0) {
        running += 1
        most = Math.max(most, running)
        return opened.then(() => {
          running -= 1
        })
      }
      return having('then', (resolve: () => void, reject: (error: unknown) => void) => {
        resolve()
        reject(new Error('again'))
        throw new Error('and again')
      }) as Promise<void>
    },
  })
  await bed.work([twice], { queues: { default: 2 } })
  const first = await bed.insert(twice, { n: 0 })
  const done = await bed.untilState(first, 'completed')
  assert.deepEqual(done.attempts, [])
  await insertJobsNow(
    bed,
    [1, 2, 3, 4].map((n) => newJob(bed.core, twice, { n })),
  )
  await eventually(() => running === 2)
  open()
  await eventually(() => running === 0)
  assert.equal(most, 2)
})

test('a promise that is a function is waited for', async (t) => {
  const bed = await jobsBed(t)
  let waited = false
  const lazy = job('lazy', {
    args: numbered,
    handle: () => {
      // A lazy query of some libraries runs when it is awaited.
      const then = (resolve: () => void): void => {
        waited = true
        resolve()
      }
      return having('then', then, () => {}) as Promise<void>
    },
  })
  await bed.work([lazy])
  const id = await bed.insert(lazy, { n: 0 })
  await bed.untilState(id, 'completed')
  assert.equal(waited, true)
})
