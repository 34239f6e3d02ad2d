// One relay in a process of its own. What it is to do stands in CHAOS_RELAY, as JSON; what it says are lines of JSON.
import { flushCompileCache } from 'node:module'
import { createCore } from '../../src/core/core.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { isRelayLog } from '../../src/log/relay-port.ts'
import { Relay } from '../../src/outbox/relay.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { Listener } from '../../src/postgres/listener.ts'
import { Heartbeat } from '../../src/process/heartbeat.ts'
import { jsonLogger } from '../../src/telemetry/json-logger.ts'
import { setTrap, type Trap } from './failpoints.ts'

/** What a relay is told. */
export interface RelayConfig {
  readonly name: string
  readonly databaseUrl: string
  readonly brokers: readonly string[]
  readonly leaseMs: number
  readonly takeOverMs: number
  readonly batchRecords: number
  readonly pruneMs: number
  readonly trap?: Trap
}

const config = JSON.parse(process.env['CHAOS_RELAY'] ?? '') as RelayConfig
const say = (event: string, fields: object = {}): void => {
  console.log(JSON.stringify({ event, ...fields }))
}

setTrap(config.trap)
const logger = jsonLogger({
  level: 'debug',
  write: (line) => say('log', { line: JSON.parse(line) as unknown }),
})
const core = createCore({ logger })
const pool = createPool(config.databaseUrl)
pool.on('error', () => {
  // Whoever uses the connection learns of it.
})
const log = await kafka({ brokers: config.brokers, requestTimeoutMs: 5_000 }).open({ core, pool })
if (!isRelayLog(log)) throw new Error('relays cannot write to this log')
const { name, leaseMs, takeOverMs, batchRecords, pruneMs } = config
const beat = { name, applications: [], relays: true, takeOverMs }
const heartbeat = new Heartbeat({ core, pool, ...beat })
await heartbeat.start()
const listener = new Listener({ core, pool })
listener.start()
const relay = new Relay({ core, pool, log, heartbeat, listener, leaseMs, batchRecords, pruneMs })
relay.start()
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
say('ready')
// Most of them are killed before they could leave it to the next one.
flushCompileCache()
