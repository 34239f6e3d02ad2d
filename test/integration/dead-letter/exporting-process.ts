import { createCore } from '../../../src/core/core.ts'
import { DeadLetterExporter } from '../../../src/dead-letter/exporter.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { tableLog } from '../../../src/log/table-log.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { setTrap, type Trap } from '../../chaos/failpoints.ts'

/** What a process that copies dead letters is told. */
export interface ExportingConfig {
  readonly databaseUrl: string
  readonly application: string
  /** Where the log is, when it is in Kafka. */
  readonly brokers?: readonly string[]
  readonly trap?: Trap
}

// Copies an application's dead letters until it is ended. What it is to do stands in its first argument, as JSON.
const config = JSON.parse(process.argv[2] as string) as ExportingConfig
setTrap(config.trap)
const { databaseUrl, application, brokers } = config
const core = createCore()
const pool = createPool(databaseUrl)
const log = await (brokers === undefined ? tableLog() : kafka({ brokers })).open({ core, pool })
new DeadLetterExporter({ core, pool, log, application, intervalMs: 5 }).start()
console.log(JSON.stringify({ event: 'copying' }))
