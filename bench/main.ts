import { parseArgs } from 'node:util'
import { benchDeadLetters } from './dead-letters.ts'
import { benchJobs } from './jobs.ts'
import { benchKafkaConsume } from './kafka-consume.ts'
import { benchLatency } from './latency.ts'
import { benchMemory } from './memory.ts'
import { benchOnce } from './once.ts'
import { benchPipeline } from './pipeline.ts'
import { benchRelay } from './relay.ts'
import { formatRows, type BenchOptions, type BenchRow } from './rows.ts'

const BENCHES: Readonly<Record<string, (options: BenchOptions) => Promise<BenchRow[]>>> = {
  jobs: benchJobs,
  pipeline: benchPipeline,
  latency: benchLatency,
  memory: benchMemory,
  'kafka-consume': benchKafkaConsume,
  relay: benchRelay,
  'dead-letters': benchDeadLetters,
  once: benchOnce,
}

/** How many jobs, or records, when nothing else is asked for. */
const COUNTS: Readonly<Record<string, number>> = {
  jobs: 100_000,
  pipeline: 50_000,
  latency: 1_000,
  memory: 1_000_000,
  'kafka-consume': 500_000,
  relay: 200_000,
  'dead-letters': 200_000,
  once: 100_000,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    count: { type: 'string' },
    rounds: { type: 'string', default: '3' },
  },
})
const names = positionals.length === 0 ? Object.keys(BENCHES) : positionals
const unknown = names.filter((name) => BENCHES[name] === undefined)
if (unknown.length > 0) {
  console.error(
    `There is no bench called ${unknown.join(', ')}. There are: ${Object.keys(BENCHES).join(', ')}.`,
  )
  process.exit(2)
}
for (const name of names) {
  const rows = await BENCHES[name]?.({
    count: Number(values.count ?? COUNTS[name]),
    rounds: Number(values.rounds),
    note: (text) => console.error(text),
  })
  if (rows !== undefined) console.log(formatRows(rows, values.json))
}
