import assert from 'node:assert/strict'
import test from 'node:test'
import type { EchoDump } from '../../support/checker/dumps.ts'
import { alterEntry, broken, call, replace } from './alter.ts'

test('finds an effect that is missing, double, or of another attempt (I4)', () => {
  const isOfJob = ({ jobId }: { jobId: string | null }): boolean => jobId === 'job-0'
  assert.deepEqual(
    broken(({ dumps }) => {
      dumps.effects = dumps.effects.filter((effect) => !isOfJob(effect))
    }),
    ['I4'],
  )
  assert.deepEqual(
    broken(({ dumps }) => {
      dumps.effects.push(...dumps.effects.filter(isOfJob))
    }),
    ['I4'],
  )
  assert.deepEqual(
    broken(({ dumps }) => replace(dumps.effects, isOfJob, { attempt: 2 })),
    ['I4'],
  )
})

test('finds an effect of a job that was not completed (I4)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.jobs, ({ id }) => id === 'job-0', { state: 'cancelled' })
  })
  assert.deepEqual(found, ['I4'])
})

test('finds a completed job that never called, two keys of one job, and a key applied twice (I5)', () => {
  assert.deepEqual(
    broken((made) => alterEntry(made, 'effect', { jobId: 'nobody' })),
    ['I5'],
  )
  assert.deepEqual(
    broken(({ history }) => history.push(call({ idempotencyKey: 'key-9' }))),
    ['I5'],
  )
  assert.deepEqual(
    broken(({ history }) => history.push(call({ applied: true }))),
    ['I5'],
  )
  assert.deepEqual(
    broken(({ history }) => history.push(call({}))),
    [],
  )
})

test('finds records of one key that were applied in another order (I6)', () => {
  const found = broken(({ dumps }) => {
    replace(dumps.effects, ({ seq }) => seq === 0n, { seq: 5n })
  })
  assert.deepEqual(found, ['I6'])
})

test('finds executions of one key that overlap (I6)', () => {
  const found = broken((made) => alterEntry(made, 'executed', { end: '12' }))
  assert.deepEqual(found, ['I6'])
})

test('leaves the order of what was rolled back to itself (I6)', () => {
  const found = broken(({ history }) =>
    history.push({
      entry: 'executed',
      execution: 'rolled back',
      handler: 'ledger',
      key: 'k',
      worker: 'w2',
      start: '0',
      end: '100',
    }),
  )
  assert.deepEqual(found, [])
})

test('finds what a handler published without its row, twice, not at all, or in another order (I6, I14)', () => {
  const publishing = (change: (echoes: EchoDump[]) => void): string[] =>
    broken(({ dumps }) => {
      const echoes = dumps.effects.map(
        ({ name, eventId, key }): EchoDump => ({ name, eventId, key: key ?? '' }),
      )
      change(echoes)
      dumps.echoes = echoes
    })
  assert.deepEqual(
    publishing(() => {}),
    [],
  )
  const isFirstJob = ({ name, eventId }: EchoDump): boolean =>
    name === 'mail.send' && eventId === 'event-0'
  assert.deepEqual(
    publishing((echoes) => void echoes.push({ name: 'mail.send', eventId: 'event-9', key: 'k' })),
    ['I14'],
  )
  assert.deepEqual(
    publishing((echoes) => void echoes.push(...echoes.filter(isFirstJob))),
    ['I14'],
  )
  assert.deepEqual(
    publishing((echoes) => void echoes.splice(echoes.findIndex(isFirstJob), 1)),
    ['I14'],
  )
  assert.deepEqual(
    publishing((echoes) => void echoes.reverse()),
    ['I6'],
  )
})
