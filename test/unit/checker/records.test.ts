import assert from 'node:assert/strict'
import test from 'node:test'
import type { HistoryEntry } from '../../support/checker/history.ts'
import type { Invariant } from '../../support/checker/verdict.ts'
import { alterEntry, alterProduced, broken, letter, replace } from './alter.ts'
import { change, job, move, produced, type World } from './world.ts'

test('finds a record that was passed over (I1)', () => {
  const found = broken(({ dumps }) => {
    dumps.effects.splice(0, 1)
  })
  assert.deepEqual(found, ['I1'])
})

test('finds a record that is both a job and a dead letter (I1)', () => {
  const found = broken(({ dumps }) => {
    dumps.deadLetters.push(letter('mail'))
  })
  assert.deepEqual(found, ['I1', 'I8'])
})

test('finds a hole between two batches (I1, I3)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.batches, ({ first }) => first === 0n, { next: 1n })
  })
  assert.deepEqual(found, ['I1', 'I3'])
})

test('finds two batches that overlap (I1)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.batches, ({ first }) => first === 2n, { first: 1n })
  })
  assert.deepEqual(found, ['I1'])
})

test('finds a batch that counts what is not in it (I1)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.batches, ({ first }) => first === 0n, { done: 1, filtered: 1 })
  })
  assert.deepEqual(found, ['I1'])
})

test('finds what was made of a record that is not read yet (I1)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.positions, () => true, { next: 2n })
    dumps.batches.pop()
  })
  assert.deepEqual(found, ['I1', 'I13'])
})

test('accepts a record that is filtered, and nothing else (I1)', () => {
  const filter = ({ history, dumps }: World): void => {
    replace(history, (entry) => entry.entry === 'produce' && entry.id === 'event-2', {
      dispositions: { '*': 'filtered' },
    } as Partial<HistoryEntry>)
    replace(dumps.batches, ({ first }) => first === 2n, { done: 0, jobs: 0, filtered: 1 })
    dumps.effects = dumps.effects.filter(({ eventId }) => eventId !== 'event-2')
    dumps.jobs.pop()
    dumps.jobTransitions = dumps.jobTransitions.filter(({ id }) => id !== 'job-2')
  }
  assert.deepEqual(broken(filter), [])
  const found = broken((made) => {
    filter(made)
    made.dumps.jobs.push(job(2n))
  })
  assert.ok(found.includes('I1'))
})

test('finds two jobs of one record (I2)', () => {
  const found = broken(({ dumps }) => {
    dumps.jobs.push(job(0n, { id: 'job-x', state: 'cancelled' }))
  })
  assert.deepEqual(found, ['I2'])
})

test('finds a second job of a record that only the shadow table has seen (I2)', () => {
  const found = broken(({ dumps }) => {
    dumps.jobTransitions.push(change(90, 0n, { op: 'update', id: 'job-x', to: 'available' }))
  })
  assert.deepEqual(found, ['I2'])
})

test('finds a job that stands in both tables, and one that stands in none (I2)', () => {
  assert.deepEqual(
    broken(({ dumps }) => {
      dumps.jobs.push(job(0n, { state: 'cancelled', finished: true }))
    }),
    ['I2', 'I4'],
  )
  assert.ok(
    broken(({ dumps }) => {
      dumps.jobs.pop()
    }).includes('I2'),
  )
})

test('finds a position that moved back, and one that was seen ahead (I3)', () => {
  assert.deepEqual(
    broken(({ dumps }) => {
      dumps.positionTransitions.push(move(5, 2n), move(6, 3n))
    }),
    ['I3'],
  )
  assert.deepEqual(
    broken((made) => alterEntry(made, 'sample', { next: '4' })),
    ['I3'],
  )
})

test('finds a position behind the end of the log (I3)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.positions, () => true, { end: 2n })
  })
  assert.deepEqual(found, ['I3'])
})

test('accepts a dead letter that is due, and finds it missing, double or changed (I8)', () => {
  const due = ({ history, dumps }: World): void => {
    alterProduced(history, { dispositions: { mail: 'jobs', ledger: 'dead' } })
    dumps.effects.splice(0, 1)
    replace(dumps.batches, ({ first }) => first === 0n, { done: 1, deadLettered: 1 })
  }
  const having = (...letters: ReturnType<typeof letter>[]): Invariant[] =>
    broken((made) => {
      due(made)
      made.dumps.deadLetters.push(...letters)
    })
  assert.deepEqual(having(letter('ledger')), [])
  assert.ok(having().includes('I8'))
  assert.ok(having(letter('ledger'), letter('ledger')).includes('I8'))
  assert.deepEqual(having({ ...letter('ledger'), sha256: 'other' }), ['I8'])
  assert.deepEqual(having({ ...letter('ledger'), key: null }), ['I8'])
})

test('finds a discarded job without a dead letter (I8)', () => {
  const discarded = ({ dumps }: World): void => {
    replace(dumps.jobs, ({ id }) => id === 'job-0', { state: 'discarded' })
    dumps.effects = dumps.effects.filter(({ jobId }) => jobId !== 'job-0')
  }
  assert.deepEqual(broken(discarded), ['I8'])
  assert.deepEqual(
    broken((made) => {
      discarded(made)
      made.dumps.deadLetters.push({ ...letter('mail'), stage: 'job', jobId: 'job-0' })
    }),
    [],
  )
})

test('finds an acknowledged record that is not there, and a refused one that is (I14)', () => {
  assert.deepEqual(
    broken(({ history }) => history.push(produced(7n))),
    ['I14'],
  )
  assert.deepEqual(
    broken(({ history }) => history.push(produced(7n, { outcome: 'info' }))),
    [],
  )
  assert.deepEqual(
    broken(({ history }) => alterProduced(history, { outcome: 'fail' })),
    ['I14'],
  )
  assert.ok(broken(({ history }) => alterProduced(history, { sha256: 'other' })).includes('I14'))
})
