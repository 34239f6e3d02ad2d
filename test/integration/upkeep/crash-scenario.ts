// A process that executes jobs until it is killed, or kills itself in the handler of a job that says so.
import { createCore } from '../../../src/core/core.ts'
import { JobWaker } from '../../../src/jobs/wake.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { Listener } from '../../../src/postgres/listener.ts'
import { Heartbeat } from '../../../src/process/heartbeat.ts'
import { Worker } from '../../../src/worker/worker.ts'
import { touchy } from './touchy.ts'

const core = createCore()
const pool = createPool(process.argv[2] as string)
// The database is dropped at the end of the test, under its idle connections.
pool.on('error', () => {})
const heartbeat = new Heartbeat({ core, pool, applications: [], takeOverMs: 300 })
await heartbeat.start()
const listener = new Listener({ core, pool })
listener.start()
new Worker({
  core,
  pool,
  heartbeat,
  listener,
  waker: new JobWaker({ core, pool }),
  definitions: [touchy],
  limits: { pollMs: 50 },
}).start()
console.log(JSON.stringify({ event: 'ready', processId: heartbeat.id }))
