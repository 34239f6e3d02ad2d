import test from 'node:test'
import { cleanup } from '../support/cleanup.ts'
import { postgresProxy, type CutSide, type PostgresProxy } from '../support/proxy.ts'
import { eventually } from '../support/wait.ts'
import { assertReplayed, replayBed } from './replay-bed.ts'
import { SUBJECTS } from './replay-records.ts'

/** What a process says that has found out what became of a COMMIT. */
const FOUND: Readonly<Record<CutSide, RegExp>> = {
  request: /the connection broke during COMMIT and the transaction was rolled back/,
  reply: /the reply to COMMIT was lost; the transaction had committed/,
}

test('handles everything once when the COMMIT of a chunk, or the reply to it, is lost', {
  concurrency: 3,
}, async (t) => {
  await Promise.all(
    SUBJECTS.flatMap((subject) =>
      (['request', 'reply'] as const).map((side) =>
        t.test(`${subject}, the ${side}`, async (inner) => {
          let proxy: PostgresProxy | undefined
          const it = await replayBed(inner, subject, {
            through: async (url) => {
              const made = await postgresProxy(url)
              cleanup(inner, async () => made[Symbol.asyncDispose]())
              proxy = made
              return made.through(url)
            },
          })
          let chunks = 0
          // Of the second chunk: something is behind it, and something is left.
          const cut = proxy?.cutCommit(
            side,
            ({ statements }) => statements.includes('millrace:replay-fence') && ++chunks === 2,
          )
          const worker = await it.worker()
          const id = await it.order()
          await cut
          await eventually(() => FOUND[side].test(worker.output))
          await assertReplayed(it, await it.ended(id))
        }),
      ),
    ),
  )
})
