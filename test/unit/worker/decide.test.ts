import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CancelReason, StopReason, TimeoutReason } from '../../../src/core/abort.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { MillraceError, permanent } from '../../../src/errors/millrace-error.ts'
import { cancel, discard, snooze } from '../../../src/jobs/outcome.ts'
import { decideReturned, decideThrown, type AttemptFacts } from '../../../src/worker/decide.ts'
import { CANCELLED, COMPLETED, INTERRUPTED } from '../../../src/worker/result.ts'

function facts(given: Partial<AttemptFacts> = {}): AttemptFacts {
  return {
    definition: { backoff: (attempt) => attempt * 100 },
    attempt: 2,
    maxAttempts: 5,
    random: seededRandom(1),
    aborted: undefined,
    ...given,
  }
}

test('whatever is no outcome completes the job', () => {
  for (const value of [undefined, null, 0, 'snooze', { outcome: 'else' }]) {
    assert.equal(decideReturned(value, facts()), COMPLETED)
  }
})

test('outcomes do what they say', () => {
  const snoozed = decideReturned(snooze('1s', 'wait'), facts())
  assert.ok(snoozed.result === 'put back')
  assert.deepEqual([snoozed.state, snoozed.waitMs, snoozed.charged], ['scheduled', 1_000, false])
  const cancelled = decideReturned(cancel('gone'), facts())
  assert.ok(cancelled.result === 'ended')
  assert.deepEqual([cancelled.state, cancelled.reason], ['cancelled', 'gone'])
  const discarded = decideReturned(discard('nul \u0000'), facts())
  assert.ok(discarded.result === 'ended')
  assert.deepEqual([discarded.state, discarded.reason], ['discarded', 'nul \\u0000'])
})

test('a snooze of a job that somebody cancelled is a cancellation', () => {
  assert.equal(decideReturned(snooze('1s'), facts({ aborted: new CancelReason() })), CANCELLED)
})

test('an error that may pass is retried after the backoff of the attempt', () => {
  for (const error of [
    new Error('x'),
    'a string',
    undefined,
    new MillraceError('E_HANDLER', 'x'),
    permanentlyRetryable(),
  ]) {
    const result = decideThrown(error, facts())
    assert.ok(result.result === 'put back')
    assert.deepEqual(
      [result.state, result.waitMs, result.charged, result.outcome],
      ['retryable', 200, true, 'failed'],
    )
  }
})

test('a permanent error and the last attempt discard', () => {
  for (const result of [
    decideThrown(permanent('never'), facts()),
    decideThrown(new MillraceError('E_EVENT_INVALID', 'args'), facts()),
    decideThrown(new Error('x'), facts({ attempt: 5 })),
  ]) {
    assert.ok(result.result === 'ended')
    assert.deepEqual([result.state, result.outcome], ['discarded', 'failed'])
  }
})

test('what is thrown after an abort is judged by the reason of the abort', () => {
  assert.equal(decideThrown(permanent('x'), facts({ aborted: new CancelReason() })), CANCELLED)
  assert.equal(decideThrown(permanent('x'), facts({ aborted: new StopReason() })), INTERRUPTED)
  const timedOut = decideThrown(new Error('x'), facts({ aborted: new TimeoutReason(5) }))
  assert.ok(timedOut.result === 'put back' && timedOut.outcome === 'timed_out')
})

test('a backoff that throws does not lose the job', () => {
  const definition = {
    backoff: (): number => {
      throw new Error('user error')
    },
  }
  const result = decideThrown(new Error('x'), facts({ definition }))
  assert.ok(result.result === 'put back' && result.waitMs === 60_000)
})

function permanentlyRetryable(): Error {
  return new MillraceError('E_PERMANENT', 'says so, and says otherwise', { retryable: true })
}
