import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { describeVerdict, type Invariant } from '../support/checker/verdict.ts'
import { RECORD } from './application.ts'
import type { ChaosRun } from './chaos-run.ts'
import { deadLetterOperators } from './dead-letter-operators.ts'
import {
  appendedTwice,
  fencedConsumer,
  killed,
  stoppedJob,
  upkeepReplaced,
  type ScenarioOptions,
} from './scenarios.ts'
import { patchedCopy } from './source-copy.ts'

/** A bug, and the run that must show it. */
interface PlantedBug {
  readonly patch: string
  readonly breaks: Invariant
  readonly scenario: (t: TestContext, options: ScenarioOptions) => Promise<ChaosRun>
}

const folder = join(import.meta.dirname, 'planted')

const BUGS: readonly PlantedBug[] = [
  { patch: 'audit-after-commit.patch', breaks: 'I10', scenario: deadLetterOperators },
  { patch: 'cancel-audited-after-commit.patch', breaks: 'I10', scenario: deadLetterOperators },
  { patch: 'pause-audited-after-commit.patch', breaks: 'I10', scenario: deadLetterOperators },
  {
    patch: 'position-before-effects.patch',
    breaks: 'I1',
    scenario: (t, options) =>
      killed(t, [{ name: 'batch:before-commit', count: 2, signal: 'SIGKILL' }], options),
  },
  { patch: 'no-compare-and-set.patch', breaks: 'I2', scenario: fencedConsumer },
  {
    patch: 'duplicates-handled.patch',
    breaks: 'I2',
    scenario: (t, options) =>
      appendedTwice(t, [{ name: 'batch:before-commit', count: 2, signal: 'SIGKILL' }], options),
  },
  { patch: 'rescue-of-the-living.patch', breaks: 'I7', scenario: upkeepReplaced },
  {
    patch: 'undecodable-dropped.patch',
    breaks: 'I8',
    scenario: (t, options) =>
      killed(t, [{ name: 'batch:after-commit', count: 1, signal: 'SIGKILL' }], options),
  },
  {
    patch: 'dead-letter-after-commit.patch',
    breaks: 'I8',
    scenario: (t, options) =>
      killed(t, [{ name: 'job:after-end', count: 1, signal: 'SIGKILL' }], options),
  },
  {
    patch: 'completion-without-fence.patch',
    breaks: 'I7',
    scenario: (t, options) => stoppedJob(t, RECORD, options),
  },
]

test('knows a scenario for every planted bug', () => {
  assert.deepEqual(readdirSync(folder).sort(), BUGS.map(({ patch }) => patch).sort())
})

test('says that a patch which does not apply is to be refreshed', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-planted-'))
  t.after(() => rm(directory, { recursive: true }))
  const patch = join(directory, 'old.patch')
  const lines = ['--- a/src/index.ts', '+++ b/src/index.ts', '@@ -1 +1 @@', '-no such line', '+x']
  await writeFile(patch, `${lines.join('\n')}\n`)
  await assert.rejects(patchedCopy(t, patch), /Refresh it/)
})

test('finds every planted bug, and what it breaks', { concurrency: 3 }, async (t) => {
  await Promise.all(
    BUGS.map(({ patch, breaks, scenario }) =>
      t.test(`${patch} breaks ${breaks}`, async (inner) => {
        const root = await patchedCopy(inner, join(folder, patch))
        const run = await scenario(inner, { root })
        const verdict = await run.verdict()
        inner.diagnostic(describeVerdict(verdict))
        assert.ok(
          verdict.violations.some(({ invariant }) => invariant === breaks),
          `${patch} was not found out as a violation of ${breaks}: ${describeVerdict(verdict)}`,
        )
      }),
    ),
  )
})
