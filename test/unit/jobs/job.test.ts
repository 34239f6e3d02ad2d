import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import fc from 'fast-check'
import * as v from 'valibot'
import { z } from 'zod'
import { createCore } from '../../../src/core/core.ts'
import { isUuid } from '../../../src/core/ids.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import { MAX_ARGS_LENGTH } from '../../../src/jobs/args.ts'
import { job } from '../../../src/jobs/job.ts'
import { decodeMeta, encodeMeta, idempotencyKeyOf, type JobOrigin } from '../../../src/jobs/meta.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { isJobOutcome, snooze } from '../../../src/jobs/outcome.ts'
import { formatJobsWake, parseJobsWake } from '../../../src/jobs/wake.ts'

const core = createCore()
const plain = job('plain', { args: z.object({ n: z.int() }), handle() {} })

const origin = fc.record<JobOrigin>(
  {
    application: fc.string(),
    handler: fc.string(),
    topic: fc.string(),
    topicId: fc.uuid(),
    partition: fc.nat(),
    offset: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    generation: fc.nat(),
    index: fc.nat(),
  },
  { noNullPrototype: true },
)

test('a definition has its defaults filled in and cannot be changed', () => {
  assert.equal(plain.queue, 'default')
  assert.deepEqual(
    [plain.priority, plain.maxAttempts, plain.timeoutMs, plain.maxCrashes],
    [5, 20, 300_000, 3],
  )
  assert.ok(Object.isFrozen(plain))
})

test('everything that is wrong with a definition is reported at once', () => {
  const wrong = {
    args: {} as StandardSchemaV1,
    queue: '',
    priority: 10,
    maxAttempts: 0,
    timeout: '1y' as '1d',
    maxCrashes: 0,
    backoff: { baseMs: 0, jitter: 2 },
    handle: undefined as unknown as () => void,
  }
  assert.throws(
    () => job('', wrong),
    (error: unknown) => {
      assert.ok(isMillraceError(error) && error.code === 'E_CONFIG_INVALID')
      assert.deepEqual(
        (error.details['problems'] as string[]).map((line) => line.split(':')[0]),
        [
          'kind',
          'args',
          'queue',
          'priority',
          'maxAttempts',
          'maxCrashes',
          'timeout',
          'backoff.baseMs',
          'backoff.jitter',
          'handle',
        ],
      )
      return true
    },
  )
})

test('a backoff function that answers nonsense means at once', () => {
  for (const answer of [Number.NaN, -5, Number.POSITIVE_INFINITY]) {
    const wild = job('wild', { args: z.object({}), backoff: () => answer, handle() {} })
    assert.equal(wild.backoff(1, seededRandom(1)), 0)
  }
  const tame = job('tame', { args: z.object({}), backoff: (attempt) => attempt * 10, handle() {} })
  assert.equal(tame.backoff(3, seededRandom(1)), 30)
})

test('what is stored of args is the input as JSON, not what the schema makes of it', () => {
  const dated = job('dated', {
    args: v.object({
      at: v.pipe(
        v.string(),
        v.transform((text) => new Date(text)),
      ),
    }),
    handle() {},
  })
  assert.equal(newJob(core, dated, { at: '2026-01-01' }).argsJson, '{"at":"2026-01-01"}')
})

test('args that JSON would change are refused when the job is made', () => {
  const dated = job('dated', { args: z.object({ at: z.date() }), handle() {} })
  assert.throws(() => newJob(core, dated, { at: new Date(0) }), {
    code: 'E_EVENT_INVALID',
    message: /at: /,
  })
  const loose = job('loose', { args: z.any(), handle() {} })
  assert.throws(() => newJob(core, loose, undefined), { code: 'E_EVENT_INVALID' })
  assert.throws(() => newJob(core, loose, 1n), { code: 'E_EVENT_INVALID' })
  assert.throws(() => newJob(core, loose, 'x'.repeat(MAX_ARGS_LENGTH)), {
    code: 'E_EVENT_TOO_LARGE',
  })
})

test('a schema that validates asynchronously is refused with an explanation', () => {
  const slow = job('slow', { args: z.string().refine(async () => true), handle() {} })
  assert.throws(() => newJob(core, slow, 'x'), { code: 'E_EVENT_INVALID' })
})

test('wrong options of a new job are reported together', () => {
  assert.throws(
    () =>
      newJob(
        core,
        plain,
        { n: 1 },
        {
          scheduledAt: new Date(Number.NaN),
          scheduleIn: -1,
          priority: 11,
          queue: '',
          maxAttempts: 0,
        },
      ),
    {
      code: 'E_CONFIG_INVALID',
      message: /scheduledAt[^]*scheduleIn[^]*scheduleIn[^]*priority[^]*queue[^]*maxAttempts/,
    },
  )
})

test('the idempotency key of a job made from a record depends on where the record stands, and on nothing else', () => {
  fc.assert(
    fc.property(origin, fc.uuid(), fc.uuid(), (from, one, other) => {
      const key = idempotencyKeyOf(one, from)
      assert.ok(isUuid(key) && key[14] === '8')
      assert.equal(idempotencyKeyOf(other, { ...from, topic: 'renamed' }), key)
      assert.notEqual(idempotencyKeyOf(one, { ...from, index: from.index + 1 }), key)
      assert.notEqual(idempotencyKeyOf(one, { ...from, generation: from.generation + 1 }), key)
    }),
  )
  assert.equal(idempotencyKeyOf('an-id', undefined), 'an-id')
})

test('meta survives being stored, offsets beyond 2^53 included', () => {
  fc.assert(
    fc.property(
      fc.option(origin, { nil: undefined }),
      fc.option(fc.string(), { nil: undefined }),
      fc.option(fc.string(), { nil: undefined }),
      (from, id, record) => {
        const meta = {
          ...(from === undefined ? {} : { origin: from }),
          ...(id === undefined ? {} : { correlationId: id }),
          ...(record === undefined ? {} : { causationRecord: record }),
        }
        assert.deepEqual(decodeMeta(encodeMeta(meta)), meta)
      },
    ),
  )
})

test('a snooze needs a duration', () => {
  assert.deepEqual(snooze('2s', 'why'), { outcome: 'snooze', waitMs: 2_000, reason: 'why' })
  assert.throws(() => snooze('soon' as '1s'), { code: 'E_CONFIG_INVALID' })
  assert.throws(() => snooze('400d'), { code: 'E_CONFIG_INVALID' })
})

test('only our outcomes are taken for outcomes', () => {
  for (const value of [null, 1, 'cancel', {}, { outcome: 'snooze' }, { outcome: 'ok' }]) {
    assert.equal(isJobOutcome(value), false)
  }
})

test('a wake-up is read as it was written, and nonsense as look everywhere', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.nat(), (queue, place) => {
      assert.deepEqual(parseJobsWake(formatJobsWake({ queue, place })), { queue, place })
    }),
  )
  for (const text of ['', ':', 'x:y', 'queue']) assert.equal(parseJobsWake(text), undefined)
})
