// One process that runs the application of the flood brake's tests. What it is to do stands in CHAOS_FLOOD, as JSON.
import { start } from '../../src/app/start.ts'
import { jsonLogger } from '../../src/telemetry/json-logger.ts'
import { newCode, oldCode } from '../support/flooded.ts'
import { setTrap, type Trap } from './failpoints.ts'

/** What a process is told. */
export interface FloodConfig {
  readonly databaseUrl: string
  /** `old` cannot read version 2. */
  readonly code: 'old' | 'new'
  readonly batchRecords: number
  readonly trap?: Trap
}

const { databaseUrl, code, batchRecords, trap } = JSON.parse(
  process.env['CHAOS_FLOOD'] ?? '',
) as FloodConfig
const say = (event: string, fields: object = {}): void => {
  console.log(JSON.stringify({ event, ...fields }))
}

setTrap(trap)
await start({
  database: databaseUrl,
  run: [(code === 'old' ? oldCode : newCode)({ batchRecords })],
  migrate: false,
  upkeep: false,
  takeOverMs: 1_200,
  heartbeatMs: 150,
  logger: jsonLogger({
    level: 'info',
    write: (line) => say('log', { line: JSON.parse(line) as unknown }),
  }),
})
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
say('ready')
