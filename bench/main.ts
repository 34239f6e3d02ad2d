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

const MOST_ROUNDS = 100

const { values, positionals } = readArguments()
const names = positionals.length === 0 ? Object.keys(BENCHES) : positionals
const unknown = names.filter((name) => !Object.hasOwn(BENCHES, name))
if (unknown.length > 0) {
  refuse(
    `There is no bench called ${unknown.join(', ')}. There are: ${Object.keys(BENCHES).join(', ')}.`,
  )
}
const count = wholeNumber('count', values.count, Number.MAX_SAFE_INTEGER)
const rounds = wholeNumber('rounds', values.rounds, MOST_ROUNDS) ?? 3
for (const name of names) {
  const rows = await BENCHES[name]?.({
    count: count ?? (COUNTS[name] as number),
    rounds,
    note: (text) => console.error(text),
  })
  if (rows !== undefined) console.log(formatRows(rows, values.json))
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        count: { type: 'string' },
        rounds: { type: 'string' },
      },
    })
  } catch (error) {
    return refuse(
      `${(error as Error).message}\nUsage: npm run bench -- [${Object.keys(BENCHES).join('|')} …] [--count n] [--rounds n] [--json]`,
    )
  }
}

/** The number that an option gives; undefined when it was not given. Ends the process when it is none. */
function wholeNumber(option: string, text: string | undefined, most: number): number | undefined {
  if (text === undefined) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : 0
  if (value >= 1 && value <= most) return value
  return refuse(`--${option}: expected a whole number from 1 to ${most}; got '${text}'.`)
}

/** Says what is wrong with the command, and ends with code 2: nothing was measured. */
function refuse(text: string): never {
  console.error(text)
  process.exit(2)
}
