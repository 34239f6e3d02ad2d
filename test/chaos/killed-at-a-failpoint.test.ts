import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import {
  ALERT_FAILPOINTS,
  BRAKE_FAILPOINTS,
  HANDLER_FAILPOINTS,
  RELAY_FAILPOINTS,
  REPLAY_FAILPOINTS,
  SOURCE_FAILPOINTS,
  type Trap,
} from './failpoints.ts'
import { killed } from './scenarios.ts'

/** Failpoints that are only reached by whoever follows a process that died with jobs in its hands. */
const AFTER_A_DEATH: readonly string[] = ['job:suspect-claimed', 'upkeep:rescued']
/** Failpoints that few jobs reach: those that fail. */
const OF_FEW: readonly string[] = [
  'job:before-put-back',
  'job:after-put-back',
  'job:before-end',
  'job:after-end',
  'upkeep:staged',
]
/** Failpoints that are passed with nothing in hand too, and behind which place there is something. */
const BEHIND: Readonly<Record<string, string>> = {
  'transaction:before-commit': 'batch:before-position',
  'transaction:after-commit': 'batch:before-position',
  // Jobs of batches are claimed as they are inserted; these are claimed that are to be tried again.
  'job:claimed': 'job:after-put-back',
}

test('sweeps over every failpoint there is', () => {
  const root = join(import.meta.dirname, '..', '..')
  const named = new Set<string>()
  for (const file of globSync('src/**/*.ts', { cwd: root })) {
    if (file.endsWith(join('core', 'failpoint.ts'))) continue
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, name] of text.matchAll(/\bfailpoint\(\s*'([^']+)'/g)) named.add(String(name))
    const others = text.match(/\bfailpoint\((?!\s*'[^']+'\s*\))/g)?.length ?? 0
    assert.equal(others, 0, `${file} has a failpoint whose name is no literal`)
  }
  assert.deepEqual(
    [...named].sort(),
    [
      ...SOURCE_FAILPOINTS,
      ...RELAY_FAILPOINTS,
      ...REPLAY_FAILPOINTS,
      ...BRAKE_FAILPOINTS,
      ...ALERT_FAILPOINTS,
    ].sort(),
  )
})

test('loses, doubles and misorders nothing when a worker is killed', {
  concurrency: 4,
}, async (t) => {
  await Promise.all(
    [...SOURCE_FAILPOINTS, ...HANDLER_FAILPOINTS].map((name) =>
      t.test(`at ${name}`, async (inner) => {
        const first: Trap = { name: 'job:started', count: 5, signal: 'SIGKILL' }
        const behind = BEHIND[name]
        const trap: Trap = {
          name,
          count: OF_FEW.includes(name) ? 1 : 2,
          signal: 'SIGKILL',
          ...(behind === undefined ? {} : { behind }),
        }
        const run = await killed(
          inner,
          AFTER_A_DEATH.includes(name) ? [first, { ...trap, count: 1 }] : [trap],
          { outbox: true },
        )
        await run.pass()
      }),
    ),
  )
})
