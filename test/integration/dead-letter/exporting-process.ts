import { createCore } from '../../../src/core/core.ts'
import { DeadLetterExporter } from '../../../src/dead-letter/exporter.ts'
import { tableLog } from '../../../src/log/table-log.ts'
import { createPool } from '../../../src/postgres/connect.ts'

// Copies the dead letters of `billing` in the database of its first argument until it is ended.
const core = createCore()
const pool = createPool(process.argv[2] as string)
const log = await Promise.resolve(tableLog().open({ core, pool }))
new DeadLetterExporter({ core, pool, log, application: 'billing', intervalMs: 5 }).start()
console.log(JSON.stringify({ event: 'copying' }))
