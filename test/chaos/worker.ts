// One worker process of a scenario. What it is to do stands in CHAOS_WORKER, as JSON; what it says are lines of JSON.
import { flushCompileCache } from 'node:module'
import { start } from '../../src/app/start.ts'
import { jsonLogger } from '../../src/telemetry/json-logger.ts'
import { chaosApplication, type EventVersion } from './application.ts'
import type { KafkaOptions } from '../../src/kafka/kafka.ts'
import { setTrap, type Trap } from './failpoints.ts'

/** What a worker is told. */
export interface WorkerConfig {
  readonly name: string
  readonly databaseUrl: string
  readonly historyFile: string
  readonly effectsUrl: string
  readonly takeOverMs: number
  readonly heartbeatMs: number
  readonly transactionTimeoutMs: number
  readonly batchRecords: number
  readonly concurrency: number
  readonly topic: string
  readonly eventVersion?: EventVersion
  readonly start?: 'end'
  readonly maxValueBytes?: number
  /** Where the log is, when it is in Kafka. */
  readonly log?: KafkaOptions
  /** Relays the outbox, and its handlers publish through it. Default `false`. */
  readonly outbox?: boolean
  /** Its handlers handle an event once. Default `false`. */
  readonly once?: boolean
  readonly exportDeadLetters?: boolean
  readonly trap?: Trap
}

const config = JSON.parse(process.env['CHAOS_WORKER'] ?? '') as WorkerConfig
const say = (event: string, fields: object = {}): void => {
  console.log(JSON.stringify({ event, ...fields }))
}

const point = setTrap(config.trap)
// Those who do not need it need not wait for it.
const log =
  config.log === undefined
    ? {}
    : {
        log: (await import('../../src/kafka/kafka.ts')).kafka(config.log),
        // Mostly nothing of a run in Kafka goes through the outbox.
        relay: config.outbox ?? false,
      }
const millrace = await start({
  database: config.databaseUrl,
  name: config.name,
  migrate: false,
  run: [chaosApplication({ ...config, worker: config.name, point })],
  queues: { chaos: config.concurrency },
  takeOverMs: config.takeOverMs,
  heartbeatMs: config.heartbeatMs,
  stopMs: 1_000,
  ...log,
  logger: jsonLogger({
    level: 'info',
    write: (line) => say('log', { line: JSON.parse(line) as unknown }),
  }),
})
process.once('SIGTERM', () => {
  void millrace.stop().then(() => say('stopped'))
})
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
// It must not keep a stopped worker alive: that it ends by itself is a part of what is shown.
process.stdin.unref()
say('ready')
// Most workers are killed before they could leave it to the next one.
flushCompileCache()
