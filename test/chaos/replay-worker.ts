// One process of a replay that is killed. What it is to do stands in CHAOS_WORKER, as JSON; what it says are lines of JSON.
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { toJob } from '../../src/bridge/to-job.ts'
import { application, type Application } from '../../src/consumer/application.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { job } from '../../src/jobs/job.ts'
import type { Queryable } from '../../src/postgres/queryable.ts'
import { jsonLogger } from '../../src/telemetry/json-logger.ts'
import { setTrap } from './failpoints.ts'
import { counted, isBad, STORE, type ReplayWorkerConfig, type Subject } from './replay-records.ts'

const config = JSON.parse(process.env['CHAOS_WORKER'] ?? '') as ReplayWorkerConfig
setTrap(config.trap)

const store = async (n: number, tx: Queryable): Promise<void> => {
  if (!config.mended || isBad(n, config)) throw permanent('cannot be handled')
  await tx.query('insert into done (n) values ($1)', [n])
}
const storeLater = job('store', {
  args: z.object({ n: z.int() }),
  handle: ({ n }, { transaction }) => transaction((tx) => store(n, tx)),
})
const empty = application('app', {
  batchRecords: config.batchRecords,
  start: config.start,
  backlog: { pauseAt: 1_000_000 },
  floodBrake: false,
})
function stored(): Application {
  return empty.on(
    counted,
    inTransaction(({ data }, { tx }) => store(data.n, tx)),
    { name: STORE },
  )
}
const apps: Readonly<Record<Subject, () => Application>> = {
  letters: stored,
  records: stored,
  jobs: () =>
    empty.on(
      counted,
      toJob(storeLater, ({ data }) => data),
    ),
  'made-jobs': () =>
    empty.on(
      counted,
      toJob(storeLater, ({ data }) => {
        if (isBad(data.n, config)) throw permanent('cannot be handled')
        return data
      }),
      { name: STORE },
    ),
}

const millrace = await start({
  database: config.databaseUrl,
  migrate: false,
  run: [apps[config.subject]()],
  ...(config.subject === 'made-jobs' ? { queues: false as const } : {}),
  topics: { numbers: { partitions: 3 } },
  takeOverMs: 1_000,
  heartbeatMs: 100,
  stopMs: 1_000,
  logger: jsonLogger({ level: 'info', write: (line) => console.log(line) }),
})
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
console.log(JSON.stringify({ event: 'ready' }))
await sleep(300_000)
await millrace.stop()
