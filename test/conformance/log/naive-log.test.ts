import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { spawnNode } from '../../support/process.ts'

/** How the tests of a run ended. */
interface Outcome {
  readonly passed: readonly string[]
  /** What those that failed said, by their names. */
  readonly failed: ReadonlyMap<string, string>
}

/** The tests that a reader of uncommitted offsets must fail: all that have a transaction open while somebody reads. */
const ABOUT_OPEN_TRANSACTIONS: Readonly<Record<string, RegExp>> = {
  'every reader gets every commit once and each key in order': /deep-equal/,
  'a commit that comes after others of higher offsets is not passed over':
    /the commit of 'early' was passed over/,
  'a reader steps over the holes that rollbacks leave': /equal/,
  'an open transaction holds back its own partitions only': /deep-equal/,
  'a purge leaves what is not decided yet': /equal/,
}

/** Runs a file of this folder, as a run of its own. */
async function outcomeOf(t: TestContext, file: string): Promise<Outcome> {
  const scenario = spawnNode(t, new URL('./suite-scenario.ts', import.meta.url), {
    args: [new URL(file, import.meta.url).pathname],
  })
  await scenario.waitFor('ended', { timeoutMs: 200_000 })
  const named = (event: string): readonly (readonly [string, string])[] =>
    scenario.events
      .filter((one) => one.event === event)
      .map(({ name, why }) => [String(name), String(why)])
  return { passed: named('passed').map(([name]) => name), failed: new Map(named('failed')) }
}

test('the suite fails a log that reads whatever is visible above the last offset, and passes the table log', async (t) => {
  const [naive, table] = await Promise.all([
    outcomeOf(t, './naive-suite.ts'),
    outcomeOf(t, './table-log.test.ts'),
  ])
  assert.deepEqual([...table.failed], [])
  assert.deepEqual(
    [...naive.failed.keys()].toSorted(),
    Object.keys(ABOUT_OPEN_TRANSACTIONS).toSorted(),
    'it fails where it must, and nowhere else',
  )
  for (const [name, why] of naive.failed)
    assert.match(why, ABOUT_OPEN_TRANSACTIONS[name] as RegExp, name)
  assert.deepEqual(
    [...naive.passed, ...naive.failed.keys()].toSorted(),
    table.passed.toSorted(),
    'both runs are of the same tests',
  )
})
