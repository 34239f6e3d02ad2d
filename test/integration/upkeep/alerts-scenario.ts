// A process that does the upkeep and tells a webhook; killed between the sending and the noting where it is told to.
import { tellNewFingerprints } from '../../../src/alerts/alerts.ts'
import { setFailpointHandler } from '../../../src/core/failpoint.ts'
import { createCore } from '../../../src/core/core.ts'
import { JobWaker } from '../../../src/jobs/wake.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { Heartbeat } from '../../../src/process/heartbeat.ts'
import { Upkeep } from '../../../src/upkeep/upkeep.ts'

const [url = '', webhook = '', dies] = process.argv.slice(2)
setFailpointHandler((name) => {
  if (dies === 'dies' && name === 'alerts:sent') process.kill(process.pid, 'SIGKILL')
})
const core = createCore()
const pool = createPool(url)
// The database is dropped at the end of the test, under its idle connections.
pool.on('error', () => {})
const heartbeat = new Heartbeat({ core, pool, applications: [], takeOverMs: 300 })
await heartbeat.start()
const duties = [
  tellNewFingerprints({ webhook, timeoutMs: 1_000 }, { backoffMs: 100, intervalMs: 50 }),
]
new Upkeep({
  core,
  pool,
  heartbeat,
  waker: new JobWaker({ core, pool }),
  leaseMs: 300,
  duties,
}).start()
console.log(JSON.stringify({ event: 'ready' }))
