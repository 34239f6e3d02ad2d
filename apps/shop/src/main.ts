import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { kafka } from 'millrace/kafka'
import { openDatabase, type Database } from './database.ts'
import { haltedText } from './summary.ts'
import { findHome, shortPath, writeConnection, type Home } from './home.ts'
import { jsonLines } from './json-lines.ts'
import { HELP, parseCommandLine, type ShopOptions } from './options.ts'
import type { Output } from './output.ts'
import { readPurchases, type Purchase } from './purchases.ts'
import { runShop } from './shop.ts'
import { StopRequests } from './stop-requests.ts'
import { talk, type Talk } from './talk.ts'
import { liveSummary } from './terminal.ts'

const LINGER_MS = 1_000

/** Runs the command line; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const commandLine = parseCommandLine(args)
  switch (commandLine.kind) {
    case 'help':
      process.stdout.write(HELP)
      return 0
    case 'wrong':
      process.stderr.write(`${commandLine.problems.join('\n')}\n\n${HELP}`)
      return 2
    case 'run':
      return openShop(commandLine.options)
  }
}

async function openShop(options: ShopOptions): Promise<number> {
  const home = findHome(process.env)
  const purchases = await readPurchases()
  const startedAt = performance.now()
  let database: Database | undefined
  const output = chooseOutput(options, () => ({
    rows: purchases.length,
    rate: options.rate,
    database: database?.place,
    kafka: options.kafka !== undefined,
    mailbox: shortPath(`${home.mailbox}/new`),
    upMs: performance.now() - startedAt,
  }))
  // However this ends, the terminal gets its cursor back.
  process.on('exit', () => output.close())
  const words = talk(home.log, (line) => output.talk(line))
  const stop = new StopRequests({
    onStop(why) {
      words.say(`Stopping (${why}): finishing what is on the way. Ctrl-C again: stop now.`)
      output.phase('stopping')
    },
    onStopNow() {
      words.say('Stopped now. The next start repairs what was left.')
      process.exit(130)
    },
  })
  stop.listen()
  output.phase('starting')
  try {
    database = await openDatabase(options, { home, say: words.say, signal: stop.signal })
    if (options.reset) await rm(home.mailbox, { recursive: true, force: true })
    await serve({ options, home, purchases, database, output, words, stop })
    return 0
  } catch (error) {
    if (stop.signal.aborted) return 0
    words.fail(error)
    return 1
  } finally {
    await database?.close()
    output.close()
  }
}

interface Serving {
  readonly options: ShopOptions
  readonly home: Home
  readonly purchases: readonly Purchase[]
  readonly database: Database
  readonly output: Output
  readonly words: Talk
  readonly stop: StopRequests
}

async function serve(serving: Serving): Promise<void> {
  const { options, home, purchases, database, output, words, stop } = serving
  const forgetConnection = writeConnection(home, database.url, options.kafka)
  let isUp = true
  try {
    const last = await runShop({
      database,
      log: options.kafka === undefined ? undefined : kafka({ brokers: options.kafka }),
      reset: options.reset,
      purchases,
      rate: options.rate,
      mailboxDirectory: home.mailbox,
      codeVersion: version(),
      logger: words.logger,
      signal: stop.signal,
      onFigures(figures, isLast) {
        const up = figures.database === 'up'
        if (isUp && !up)
          words.say('The database cannot be reached. The shop goes on when it is back.')
        if (!isUp && up) words.say('The database is back.')
        isUp = up
        output.show(figures, isLast)
      },
      onStarted(metricsUrl) {
        const events = options.kafka === undefined ? '' : `, events on Kafka at ${options.kafka}`
        words.say(
          `The shop is open: ${options.rate} purchases per second, ${database.place}${events}.`,
        )
        words.say(
          `Mails arrive in ${shortPath(home.mailbox)}; more is said in ${shortPath(home.log)}.`,
        )
        if (metricsUrl !== null) words.say(`Figures for Prometheus: ${metricsUrl}`)
        output.phase(stop.signal.aborted ? 'stopping' : undefined)
        if (options.forMs !== undefined) stop.after(options.forMs)
      },
    })
    const records = last.lag === null ? undefined : last.lag + last.outbox
    const left = `${records ?? 'an unknown number of'} records and ${last.backlog} jobs are left for the next start`
    const all = records === 0 && last.backlog === 0 && last.partitionsHalted === 0
    words.say(`Stopped after ${last.purchases} purchases; ${all ? 'nothing is left to do' : left}.`)
    if (last.partitionsHalted > 0) words.say(haltedText(last.partitionsHalted))
    output.phase('stopped')
  } finally {
    forgetConnection()
  }
}

function chooseOutput(
  { json }: ShopOptions,
  scene: Parameters<typeof liveSummary>[0]['scene'],
): Output {
  const { stdout, stderr, env } = process
  if (json || !stdout.isTTY || env['TERM'] === 'dumb') return jsonLines(stdout, stderr)
  const color = (env['NO_COLOR'] ?? '') === ''
  return liveSummary({ screen: stdout, stderr, color, scene })
}

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}

process.exitCode = await main(process.argv.slice(2))
// What still waits for a database that is gone must not keep the process.
setTimeout(() => process.exit(), LINGER_MS).unref()
