// One process of an application. What it is to be stands in its only argument, as JSON; it runs until it is ended.
import { start } from '../../src/app/start.ts'
import { braked, broken, mended } from './sales.ts'

const CODES = { braked, broken, mended } as const

/** What a process is told. */
export interface SalesWorker {
  readonly databaseUrl: string
  readonly application: string
  readonly code: keyof typeof CODES
}

const told = JSON.parse(process.argv[2] ?? '') as SalesWorker
await start({
  database: told.databaseUrl,
  migrate: false,
  run: [CODES[told.code](told.application)],
  codeVersion: told.code,
  queues: false,
  takeOverMs: 1_500,
})
// Whoever started it is gone, so nobody is left to end it.
process.stdin.resume().once('end', () => process.exit(1))
