// One process of a replay that is killed. What it is to do stands in CHAOS_WORKER, as JSON; what it says are lines of JSON.
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'
import { setTrap, type Trap } from './failpoints.ts'

/** What a process is told. */
export interface ReplayWorkerConfig {
  readonly databaseUrl: string
  /** Whether the code that is deployed can handle the records. */
  readonly mended: boolean
  readonly trap?: Trap
}

const config = JSON.parse(process.env['CHAOS_WORKER'] ?? '') as ReplayWorkerConfig
setTrap(config.trap)

/** Numbers of seven keys. */
export const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
  key: ({ n }) => `key-${n % 7}`,
})

const app = application('app', { batchRecords: 50 }).on(
  counted,
  inTransaction(async ({ data }, { tx }) => {
    if (!config.mended || data.n % 100 === 13) throw permanent('cannot be handled')
    await tx.query('insert into done (n) values ($1)', [data.n])
  }),
)

if (import.meta.main) {
  const millrace = await start({
    database: config.databaseUrl,
    migrate: false,
    run: [app],
    topics: { numbers: { partitions: 3 } },
    takeOverMs: 1_000,
    heartbeatMs: 100,
    stopMs: 1_000,
  })
  // Whoever started it is gone, so nobody is left to end it.
  process.stdin.resume().once('end', () => process.exit(1))
  console.log(JSON.stringify({ event: 'ready' }))
  await sleep(300_000)
  await millrace.stop()
}
