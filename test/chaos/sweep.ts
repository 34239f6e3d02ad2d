import type { TestContext } from 'node:test'
import { HANDLER_FAILPOINTS, SOURCE_FAILPOINTS, type Trap } from './failpoints.ts'
import { killed, type ScenarioOptions } from './scenarios.ts'

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

/** Kills a worker at each place there is, of src and of handlers, each in a run of its own; handlers publish as well. */
export async function sweep(t: TestContext, options: ScenarioOptions = {}): Promise<void> {
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
          { ...options, outbox: true },
        )
        await run.pass()
      }),
    ),
  )
}
