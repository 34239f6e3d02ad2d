import assert from 'node:assert/strict'
import test from 'node:test'
import type { Invariant } from '../../support/checker/verdict.ts'
import { alterEntry, broken, replace } from './alter.ts'
import { change, lifeOf, move, produced, type World } from './world.ts'

test('finds a position that somebody moves who does not own it (I7)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.positionTransitions, ({ seq }) => seq === 4n, { actor: 'w2' })
  })
  assert.deepEqual(found, ['I7'])
})

test('finds an owner without a new epoch, and an epoch that goes down (I7)', () => {
  const taken = move(5, 3n, { owner: 'p2', actor: 'w2', epoch: 2n })
  const made = (epoch: bigint): Invariant[] =>
    broken(({ dumps }) => dumps.positionTransitions.push({ ...taken, epoch }))
  assert.deepEqual(made(2n), [])
  assert.deepEqual(made(1n), ['I7'])
  assert.deepEqual(made(0n), ['I7'])
})

test('finds a job that is finished by another than its living claimer (I7)', () => {
  const byAnother = (holderAlive: boolean): Invariant[] =>
    broken(({ dumps }) =>
      replace(dumps.jobTransitions, ({ id, op }) => id === 'job-0' && op === 'delete', {
        actor: 'w2',
        holderAlive,
      }),
    )
  assert.deepEqual(byAnother(true), ['I7'])
  assert.deepEqual(byAnother(false), [])
})

test('finds a change of a job that is over (I7)', () => {
  const found = broken(({ dumps }) => {
    dumps.jobTransitions.push(change(9, 0n, { op: 'insert', to: 'available', attempt: 1 }))
  })
  assert.deepEqual(found, ['I7'])
})

test('takes a job that is claimed as it is made for claimed, and one that is made twice for an error (I7)', () => {
  const madeAs = (from: string | null): string[] =>
    broken(({ dumps }) => {
      const [inserted, taken, ...rest] = lifeOf(0, 0n)
      const made = {
        ...(taken as typeof inserted & object),
        op: 'insert' as const,
        from,
        oldToken: null,
      }
      dumps.jobTransitions = [
        ...dumps.jobTransitions.filter(({ id }) => id !== 'job-0'),
        ...(from === null ? [] : [inserted]),
        made,
        ...rest,
      ].filter((one) => one !== undefined)
    })
  assert.deepEqual(madeAs(null), [])
  assert.deepEqual(madeAs('scheduled'), ['I7'])
})

test('finds a claim of a job that was not available, and a token that is used twice (I7)', () => {
  const claimed = ({ id, to }: { id: string; to: string | null }): boolean =>
    id === 'job-0' && to === 'executing'
  assert.deepEqual(
    broken(({ dumps }) => replace(dumps.jobTransitions, claimed, { from: 'suspended' })),
    ['I7'],
  )
  const again = broken(({ dumps }) => {
    const [inserted, taken, ...rest] = lifeOf(0, 0n)
    const back = change(2, 0n, {
      op: 'update',
      from: 'executing',
      to: 'available',
      oldToken: 'token-0',
    })
    const second = { ...(taken as typeof back), seq: 3n }
    const later = rest.map((one, index) => ({ ...one, seq: BigInt(4 + index) }))
    dumps.jobTransitions = [
      ...dumps.jobTransitions.filter(({ id }) => id !== 'job-0'),
      ...[inserted, taken, back, second, ...later].filter((one) => one !== undefined),
    ]
  })
  assert.deepEqual(again, ['I7'])
})

test('finds attempts beyond the bound, and none at all (I9)', () => {
  for (const attempt of [0, 4]) {
    const found = broken(({ dumps }) => {
      replace(dumps.jobs, ({ id }) => id === 'job-0', { attempt })
      replace(dumps.effects, ({ jobId }) => jobId === 'job-0', { attempt })
    })
    assert.deepEqual(found, ['I9'])
  }
})

test('finds a wait that is shorter than promised, and a claim before its time (I9)', () => {
  const retried = (waitMs: number, claimedAt: number): Invariant[] =>
    broken(({ dumps }) => {
      const [inserted, claimed, gone, finished] = lifeOf(0, 0n)
      const first = { ...claimed, token: 'token-first' } as typeof claimed
      const failed = change(2, 0n, {
        op: 'update',
        from: 'executing',
        to: 'retryable',
        attempt: 1,
        oldToken: 'token-first',
        scheduledAt: 2_000 + waitMs,
      })
      const due = { ...failed, seq: 3n, from: 'retryable', to: 'available', oldToken: null }
      const again = { ...claimed, seq: 4n, attempt: 2, attemptedAt: claimedAt } as typeof claimed
      const end = [gone, finished].map((one, index) => ({
        ...(one as typeof failed),
        seq: BigInt(5 + index),
        attempt: 2,
      }))
      dumps.jobTransitions = [
        ...dumps.jobTransitions.filter(({ id }) => id !== 'job-0'),
        ...[inserted, first, failed, due, again, ...end].filter((one) => one !== undefined),
      ]
      replace(dumps.jobs, ({ id }) => id === 'job-0', { attempt: 2 })
      replace(dumps.effects, ({ jobId }) => jobId === 'job-0', { attempt: 2 })
    })
  assert.deepEqual(retried(100, 2_100), [])
  assert.deepEqual(retried(50, 2_100), ['I9'])
  assert.deepEqual(retried(100, 2_050), ['I9'])
})

test('finds a job and a record that are left, and a partition that is stopped (I13)', () => {
  assert.ok(
    broken(({ dumps }) =>
      replace(dumps.jobs, ({ id }) => id === 'job-0', { state: 'retryable', finished: false }),
    ).includes('I13'),
  )
  assert.ok(
    broken((made) => {
      made.history.push(produced(3n))
      made.dumps.records.push({
        ...(made.dumps.records[0] as World['dumps']['records'][number]),
        offset: 3n,
        id: 'event-3',
        sha256: 'hash-3',
      })
    }).includes('I13'),
  )
  assert.deepEqual(
    broken(({ dumps }) => replace(dumps.positions, () => true, { halted: 'because' })),
    ['I13'],
  )
})

test('finds a run that did not come to rest in time (I13)', () => {
  assert.deepEqual(
    broken((made) => alterEntry(made, 'quiet', { reached: false })),
    ['I13'],
  )
  assert.deepEqual(
    broken((made) => alterEntry(made, 'quiet', { afterMs: 101 })),
    ['I13'],
  )
})
