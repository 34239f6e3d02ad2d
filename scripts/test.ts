// Runs the tests on one PostgreSQL of their own: `npm test`, `npm test -- consumer`, `npm test -- --only chaos`.
// With MILLRACE_TEST_DATABASE_URL set, that server is used instead (a superuser's URL). The tests that need a Kafka share
// one broker, started by the first of them, or use the one at MILLRACE_TEST_KAFKA (HOST:PORT).
// The summary of the test runner is the last thing on stdout, so nothing is written there after it.
import { globSync } from 'node:fs'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'
import { embeddedPostgres, type EmbeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { offerKafka, type SharedKafka } from './shared-kafka.ts'
import { root } from './source-files.ts'

/** Longest time (ms) one test may take. */
const testTimeoutMs = 300_000
const databaseVariable = 'MILLRACE_TEST_DATABASE_URL'
const kafkaVariable = 'MILLRACE_TEST_KAFKA'
/** What needs no database and can share one process. */
const unit = ['src/', 'test/unit/', 'test/types/', 'test/architecture.test.ts']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, unit: { type: 'boolean' } },
})

function testFiles(): string[] {
  const all = globSync(['{test,src,apps}/**/*.test.ts'], {
    cwd: root,
    exclude: ['**/node_modules/**'],
  })
  return all
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => values.only === undefined || file.startsWith(`test/${values.only}/`))
    .filter((file) => !values.unit || unit.some((part) => file.startsWith(part)))
    .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
    .sort()
}

interface Verdict {
  readonly tests: number
  readonly good: boolean
}

async function runTests(files: readonly string[], signal: AbortSignal): Promise<Verdict> {
  let tests = 0
  let good = true
  const events = run({
    files: files.map((file) => join(root, file)),
    concurrency: 2,
    timeout: testTimeoutMs,
    isolation: values.unit ? 'none' : 'process',
    execArgv: ['--import', join(root, 'scripts', 'leaks.ts')],
    signal,
  })
  events.on('test:pass', ({ name, file, details }) => {
    // A file without tests counts as a test of its own to the runner.
    if (name === file) {
      good = false
      console.error(`No test in ${relative(root, file)}`)
    } else if (details.type !== 'suite') {
      tests += 1
    }
  })
  events.on('test:fail', () => {
    tests += 1
    good = false
  })
  const refuseSkipped = (test: {
    readonly name: string
    readonly file?: string
    readonly skip?: string | boolean
    readonly todo?: string | boolean
  }): void => {
    if (test.skip === undefined && test.todo === undefined) return
    good = false
    const where = test.file === undefined ? '' : ` (${relative(root, test.file)})`
    console.error(`Tests may not be skipped or left to do: ${test.name}${where}`)
  }
  events.on('test:pass', refuseSkipped)
  events.on('test:fail', refuseSkipped)
  events.on('test:summary', ({ success }) => {
    good &&= success
  })
  const report = events.compose(new spec()) as AsyncIterable<string>
  for await (const text of report) process.stdout.write(text)
  return { tests, good }
}

async function main(): Promise<number> {
  const files = testFiles()
  if (files.length === 0) {
    console.error(`No test file matches ${process.argv.slice(2).join(' ') || '**/*.test.ts'}.`)
    return 1
  }
  const interrupted = new AbortController()
  let exitCode = 0
  let server: EmbeddedPostgres | undefined
  let kafka: SharedKafka | undefined
  const interrupt = (signal: NodeJS.Signals): void => {
    exitCode = signal === 'SIGINT' ? 130 : 143
    interrupted.abort()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  process.on('SIGHUP', interrupt)
  try {
    if (!values.unit && !process.env[databaseVariable]) {
      server = await embeddedPostgres({
        settings: { max_connections: 300, shared_buffers: '128MB' },
        onNotice: (text) => console.error(text),
        signal: interrupted.signal,
      })
      process.env[databaseVariable] = server.url()
    }
    if (!values.unit && !process.env[kafkaVariable]) {
      kafka = await offerKafka()
      process.env[kafkaVariable] = kafka.url
    }
    const { tests, good } = await runTests(files, interrupted.signal)
    if (tests === 0) console.error('No test ran.')
    return exitCode || (tests > 0 && good ? 0 : 1)
  } catch (error) {
    if (interrupted.signal.aborted) return exitCode
    throw error
  } finally {
    await kafka?.stop()
    await server?.stop('immediate')
  }
}

process.exitCode = await main()
