import assert from 'node:assert/strict'
import test from 'node:test'
import {
  checkRelayed,
  type PublishedFact,
  type RelayEvidence,
} from '../../support/checker/relayed.ts'

type Fact = { readonly key: string; readonly n: number }
type World = { published: PublishedFact[]; rows: Fact[]; log: Fact[] }

const fact = (n: number, key = 'k'): Fact => ({ key, n })

/** Two keys; of the first, one transaction was refused, and of one nobody knows. */
function world(): World {
  return {
    published: [
      { ...fact(0), outcome: 'ok' },
      { ...fact(1), outcome: 'fail' },
      { ...fact(2), outcome: 'info' },
      { ...fact(3), outcome: 'ok' },
      { ...fact(0, 'l'), outcome: 'ok' },
    ],
    rows: [fact(0), fact(2), fact(3), fact(0, 'l')],
    log: [fact(0, 'l'), fact(0), fact(2), fact(3)],
  }
}

/** What does not hold in a world that `change` has changed. */
function broken(change: (world: World) => void): string[] {
  const made = world()
  change(made)
  const violations = checkRelayed(made satisfies RelayEvidence)
  return [...new Set(violations.map(({ invariant }) => invariant))].sort()
}

/** The standby that took over knows of the first two facts of the first key, and not that they are in the log. */
function fellBack(made: World): void {
  made.published = [0, 1, 2].map((n) => ({ ...fact(n), outcome: 'ok', mayBeForgotten: true }))
  made.published.push({ ...fact(3), outcome: 'ok' })
  made.rows = [fact(0), fact(1), fact(3)]
  made.log = [fact(0), fact(1), fact(2), fact(0), fact(1), fact(3)]
}

test('accepts what was committed, there once and in order, whatever became of what nobody knows of', () => {
  assert.deepEqual(
    broken(() => {}),
    [],
  )
  const aborted = broken((made) => {
    made.rows.splice(1, 1)
    made.log.splice(2, 1)
  })
  assert.deepEqual(aborted, [])
})

test('finds what was acknowledged and is not in the log, and what is there twice', () => {
  assert.deepEqual(
    broken(({ log }) => void log.pop()),
    ['I14'],
  )
  assert.deepEqual(
    broken(({ log }) => void log.push(fact(3))),
    ['I14'],
  )
})

test('finds an event of a transaction that was rolled back, and a transaction without its event', () => {
  assert.deepEqual(
    broken(({ log }) => void log.splice(2, 0, fact(1))),
    ['I14'],
  )
  assert.deepEqual(
    broken(({ rows }) => void rows.splice(1, 1)),
    ['I14'],
  )
  assert.deepEqual(
    broken(({ log }) => void log.splice(2, 1)),
    ['I14'],
  )
})

test('finds a commit that was acknowledged and is gone, or refused and is there, or that nobody made', () => {
  const gone = broken(({ rows, log }) => {
    rows.pop()
    log.shift()
  })
  assert.deepEqual(gone, ['I14'])
  const refused = broken(({ rows, log }) => {
    rows.push(fact(1))
    log.splice(2, 0, fact(1))
  })
  assert.deepEqual(refused, ['I14'])
  assert.deepEqual(
    broken(({ log }) => void log.push(fact(9))),
    ['I14'],
  )
})

test('finds two events of a key in the wrong order', () => {
  const found = broken(({ log }) => {
    log.splice(2, 2, fact(3), fact(2))
  })
  assert.deepEqual(found, ['I6'])
})

test('excuses a database that fell back for what it has forgotten, and for nothing else', () => {
  assert.deepEqual(broken(fellBack), [])
  const lost = broken((made) => {
    fellBack(made)
    made.log = made.log.filter(({ n }) => n !== 1)
  })
  assert.deepEqual(lost, ['I14'])
  const afterwards = broken((made) => {
    fellBack(made)
    made.log.push(fact(3))
  })
  assert.deepEqual(afterwards, ['I14'])
  const twice = broken((made) => {
    fellBack(made)
    made.log.push(fact(2))
  })
  assert.deepEqual(twice, ['I14'])
  const misplaced = broken((made) => {
    fellBack(made)
    made.log = [fact(3), ...made.log.slice(0, -1)]
  })
  assert.deepEqual(misplaced, ['I6'])
})
