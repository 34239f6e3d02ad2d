import assert from 'node:assert/strict'
import test from 'node:test'
import type {
  LetterTransition,
  OutcomeTransition,
  ReplayCounts,
  ReplayTransition,
} from '../../support/checker/operated-dumps.ts'
import type { Invariant } from '../../support/checker/verdict.ts'
import { alterProduced, broken, letter, noted, replace } from './alter.ts'
import type { World } from './world.ts'

const NONE: ReplayCounts = { passed: 0, failed: 0, skipped: 0, parked: 0 }

function ofLetter(seq: number, xid: string, is: Partial<LetterTransition>): LetterTransition {
  const same = { from: 'open', to: 'open', edited: false, revision: 0, replays: 0 }
  const about = { actor: 'w1', id: 1n, stage: 'apply', jobId: null }
  return { seq: BigInt(seq), xid, ...about, ...same, ...is }
}

function ofReplay(seq: number, xid: string, is: Partial<ReplayTransition>): ReplayTransition {
  const about = { actor: 'w1', id: 7n, ofRecords: false, dryRun: false, total: 1 }
  const same = { from: 'running', to: 'running', ordered: false, counts: NONE }
  return { seq: BigInt(seq), xid, ...about, ...same, ...is }
}

function outcome(xid: string, is: Partial<OutcomeTransition> = {}): OutcomeTransition {
  return { xid, op: 'insert', replayId: 7n, letterId: 1n, outcome: 'passed', ...is }
}

/** The dead letter of the first record failed in a replay, was edited, passed in the next chunk, and that is all. */
function operated({ history, dumps }: World): void {
  alterProduced(history, { dispositions: { mail: 'jobs', ledger: 'dead' } })
  dumps.effects = dumps.effects.filter(({ source, offset }) => source === 'job' || offset !== 0n)
  replace(dumps.batches, ({ first }) => first === 0n, { done: 1, deadLettered: 1 })
  dumps.deadLetters.push({ ...letter('ledger'), state: 'replayed' })
  const failed = { ...NONE, failed: 1 }
  const passed = { ...NONE, passed: 1 }
  dumps.replays.push(
    {
      id: 6n,
      state: 'aborted',
      dryRun: false,
      ofRecords: false,
      counts: failed,
      outcomes: { passed: 0, failed: 1, skipped: 0 },
    },
    {
      id: 7n,
      state: 'finished',
      dryRun: false,
      ofRecords: false,
      counts: passed,
      outcomes: { passed: 1, failed: 0, skipped: 0 },
    },
  )
  const order = { from: null, ordered: true, actor: 'operator' }
  dumps.replayTransitions.push(
    ofReplay(1, 'order-6', { id: 6n, ...order }),
    ofReplay(2, 'chunk-6', { id: 6n, counts: failed }),
    ofReplay(3, 'abort-6', { id: 6n, to: 'aborted', ordered: true, actor: 'operator' }),
    ofReplay(4, 'order-7', order),
    ofReplay(5, 'chunk-7', { counts: passed }),
    ofReplay(6, 'finish-7', { to: 'finished' }),
  )
  dumps.letterTransitions.push(
    ofLetter(1, 'batch', { from: null }),
    ofLetter(2, 'chunk-6', { replays: 1 }),
    ofLetter(3, 'edit', { edited: true, revision: 1, actor: 'operator' }),
    ofLetter(4, 'chunk-7', { to: 'replayed', revision: 1 }),
  )
  dumps.outcomeTransitions.push(
    outcome('chunk-6', { replayId: 6n, outcome: 'failed' }),
    outcome('chunk-7'),
  )
  dumps.actionTransitions.push(
    noted('order-6', 'dlq.replay', '6'),
    noted('abort-6', 'replays.abort', '6'),
    noted('edit', 'dlq.edit', '1'),
    noted('order-7', 'dlq.replay', '7'),
  )
}

const found = (alter: (dumps: World['dumps']) => void): Invariant[] =>
  broken((made) => {
    operated(made)
    alter(made.dumps)
  })

/** The dead letter is discarded in place of being replayed. */
function discarded(dumps: World['dumps'], xid: string): void {
  replace(dumps.letterTransitions, ({ seq }) => seq === 4n, { xid: 'discard', to: 'discarded' })
  replace(dumps.deadLetters, () => true, { state: 'discarded' })
  replace(dumps.outcomeTransitions, ({ replayId }) => replayId === 7n, { outcome: 'skipped' })
  replace(dumps.replayTransitions, ({ xid: of }) => of === 'chunk-7', {
    counts: { ...NONE, skipped: 1 },
  })
  replace(dumps.replays, ({ id }) => id === 7n, {
    counts: { ...NONE, skipped: 1 },
    outcomes: { passed: 0, failed: 0, skipped: 1 },
  })
  dumps.actionTransitions.push(noted(xid, 'dlq.discard'))
}

test('accepts replays, an edit, an abort and a discard that are in the audit', () => {
  assert.deepEqual(
    found(() => {}),
    [],
  )
  assert.deepEqual(
    found((dumps) => discarded(dumps, 'discard')),
    [],
  )
})

test('finds what an operator did that is not in the audit, or in another transaction (I10)', () => {
  for (const action of ['dlq.edit', 'dlq.replay', 'replays.abort']) {
    const without = found((dumps) => {
      const at = dumps.actionTransitions.findIndex((one) => one.action === action)
      dumps.actionTransitions.splice(at, 1)
    })
    assert.deepEqual(without, ['I10'], action)
  }
  assert.deepEqual(
    found((dumps) => discarded(dumps, 'later')),
    ['I10'],
  )
})

test('finds pauses that are set or taken back without a word in the audit (I10)', () => {
  const paused =
    (...actions: [xid: string, action: string][]) =>
    (dumps: World['dumps']): void => {
      const about = { actor: 'operator', scope: 'app/orders/1' }
      dumps.pauseTransitions.push(
        { xid: 'pause', op: 'insert', ...about },
        { xid: 'anew', op: 'update', ...about },
        { xid: 'resume', op: 'delete', ...about },
        { xid: 'resume', op: 'delete', ...about, scope: 'app' },
      )
      for (const [xid, action] of actions) dumps.actionTransitions.push(noted(xid, action))
    }
  const pause: [string, string] = ['pause', 'consumers.pause']
  const anew: [string, string] = ['anew', 'consumers.pause']
  const resume: [string, string] = ['resume', 'consumers.resume']
  assert.deepEqual(found(paused(pause, anew, resume)), [])
  assert.deepEqual(found(paused(pause, anew, ['resume', 'consumers.accept-failures'])), [])
  assert.deepEqual(found(paused(anew, resume)), ['I10'])
  assert.deepEqual(found(paused(pause, resume)), ['I10'])
  assert.deepEqual(found(paused(pause, anew)), ['I10'])
  assert.deepEqual(found(paused(pause, anew, ['later', 'consumers.resume'])), ['I10'])
  assert.deepEqual(found(paused(pause, anew, resume, ['later', 'consumers.pause'])), ['I10'])
})

test('finds jobs that an operator changed without a word in the audit (I10)', () => {
  const changed =
    (actor: string, ...actions: [xid: string, action: string, count: number][]) =>
    (dumps: World['dumps']): void => {
      const inserted = dumps.jobTransitions.filter(
        ({ op, table }) => op === 'insert' && table === 'job',
      )
      for (const { id } of inserted.slice(0, 2))
        replace(
          dumps.jobTransitions,
          (one) => one.id === id && one.op === 'insert' && one.table === 'job',
          {
            actor,
            xid: 'order',
          },
        )
      for (const [xid, action, count] of actions)
        dumps.actionTransitions.push(noted(xid, action, null, count))
    }
  assert.deepEqual(found(changed('w1')), [])
  for (const action of ['jobs.retry', 'jobs.cancel']) {
    assert.deepEqual(found(changed('operator', ['order', action, 2])), [])
    assert.deepEqual(found(changed('operator', ['order', action, 1])), ['I10'])
    assert.deepEqual(found(changed('operator', ['later', action, 2])), ['I10'])
  }
  assert.deepEqual(found(changed('operator')), ['I10'])
  assert.deepEqual(found(changed('w1', ['later', 'jobs.cancel', 2])), ['I10'])
})

test('finds rows of the audit that are wrong, twice, without anything done, or changed (I10)', () => {
  const wrong: ((dumps: World['dumps']) => void)[] = [
    ({ actionTransitions: list }) =>
      replace(list, ({ action }) => action === 'dlq.replay', { count: 2 }),
    ({ actionTransitions: list }) =>
      replace(list, ({ action }) => action === 'dlq.edit', { subject: '2' }),
    ({ actionTransitions: list }) => list.push(noted('edit', 'dlq.edit', '1')),
    ({ actionTransitions: list }) => list.push(noted('nothing', 'replays.pause', '7')),
    ({ actionTransitions: list }) =>
      list.push({ ...noted('edit', 'dlq.edit', '1'), op: 'delete' as const }),
    ({ actionTransitions: list }) =>
      list.push({ ...noted('edit', 'dlq.edit', '1'), op: 'update' as const }),
  ]
  for (const [index, alter] of wrong.entries())
    assert.deepEqual(found(alter), ['I10'], String(index))
})

test('finds a move of a position that is not in the audit (I10)', () => {
  const moved = broken(({ dumps }) => {
    const [first] = dumps.positionTransitions.slice(-1)
    if (first === undefined) return
    dumps.positionTransitions.push({
      ...first,
      seq: 9n,
      xid: 'move',
      owner: null,
      epoch: 2n,
      generation: 1,
    })
  })
  assert.ok(moved.includes('I10'))
})

test('finds a replay whose numbers are not those of its outcomes (I16)', () => {
  const wrong: ((dumps: World['dumps']) => void)[] = [
    ({ replays }) =>
      replace(replays, ({ id }) => id === 7n, { counts: { ...NONE, passed: 1, failed: 1 } }),
    ({ replayTransitions }) =>
      replace(replayTransitions, ({ xid }) => xid === 'chunk-7', {
        counts: { ...NONE, passed: 2 },
      }),
    // The outcome was written by another transaction than the number.
    ({ replayTransitions }) =>
      replace(replayTransitions, ({ xid }) => xid === 'chunk-7', { xid: 'other' }),
    ({ outcomeTransitions }) => outcomeTransitions.push(outcome('chunk-7')),
    ({ outcomeTransitions }) => outcomeTransitions.push(outcome('chunk-7', { op: 'delete' })),
  ]
  for (const [index, alter] of wrong.entries())
    assert.ok(found(alter).includes('I16'), String(index))
})

test('finds a dead letter of which a replay says something else than what became of it (I16)', () => {
  const wrong: ((dumps: World['dumps']) => void)[] = [
    // It passed, and is open.
    ({ letterTransitions }) => letterTransitions.splice(3, 1),
    // It failed, and does not count it.
    ({ letterTransitions }) => letterTransitions.splice(1, 1),
    // It was closed by a transaction that wrote no outcome.
    ({ letterTransitions }) =>
      replace(letterTransitions, ({ seq }) => seq === 4n, { xid: 'elsewhere' }),
    // A dry run has closed it.
    ({ replays }) => replace(replays, ({ id }) => id === 7n, { dryRun: true }),
  ]
  for (const [index, alter] of wrong.entries())
    assert.ok(found(alter).includes('I16'), String(index))
})

test('wants one row of the audit for all that an order has edited, with their number (I10)', () => {
  const edited = (count: number, subject: string | null): Invariant[] =>
    found(({ letterTransitions, actionTransitions }) => {
      const edit = { edited: true, revision: 1, actor: 'operator', from: 'open', to: 'open' }
      letterTransitions.push(
        ofLetter(5, 'edits', { ...edit, id: 8n }),
        ofLetter(6, 'edits', { ...edit, id: 9n }),
      )
      actionTransitions.push({ ...noted('edits', 'dlq.edit'), count, subject })
    })
  assert.deepEqual(edited(2, null), [])
  assert.deepEqual(edited(1, null), ['I10'])
  assert.deepEqual(edited(2, '8'), ['I10'])
})

test('finds what changes after it was replayed or discarded, or its replay was over or held (I16)', () => {
  const wrong: ((dumps: World['dumps']) => void)[] = [
    ({ letterTransitions, actionTransitions }) => {
      const edit = { from: 'replayed', to: 'replayed', edited: true, revision: 2 }
      letterTransitions.push(ofLetter(5, 'late', edit))
      actionTransitions.push(noted('late', 'dlq.edit', '1'))
    },
    ({ letterTransitions }) =>
      letterTransitions.push(ofLetter(5, 'late', { from: 'discarded', to: 'open' })),
    ({ replayTransitions }) =>
      replayTransitions.push(ofReplay(7, 'late', { from: 'finished', to: 'running' })),
    ({ replayTransitions }) =>
      replace(replayTransitions, ({ xid }) => xid === 'chunk-7', { from: 'paused' }),
  ]
  for (const [index, alter] of wrong.entries())
    assert.ok(found(alter).includes('I16'), String(index))
})

test('accepts the dead letter of a job that is opened again, and no other change of it (I16)', () => {
  const again = (is: Partial<LetterTransition>): Invariant[] =>
    found(({ letterTransitions }) => {
      letterTransitions.push(
        ofLetter(5, 'again', { stage: 'job', from: 'replayed', to: 'open', ...is }),
      )
    })
  assert.deepEqual(again({}), [])
  assert.deepEqual(again({ replays: 1 }), [])
  assert.deepEqual(again({ to: 'replayed' }), ['I16'])
})

test('finds a replay that is still running (I13)', () => {
  assert.deepEqual(
    found(({ replays }) => replace(replays, ({ id }) => id === 7n, { state: 'running' })),
    ['I13'],
  )
})
