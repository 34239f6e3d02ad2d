// `npm run kafka`: a local broker, until it is told to stop.
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative, resolve } from 'node:path'
import { HELP, parseCommandLine, type BrokerOptions } from './command-line.ts'
import { awaitFormer, ownerOf, recordOwner, tryTake } from './lock.ts'
import { KafkaToolProblem } from './problem.ts'
import { startKafka, type Kafka } from './start.ts'

/** Two Ctrl-C closer together than this, in milliseconds, are one that came over two ways. */
const echoMs = 100
const root = resolve(import.meta.dirname, '..', '..')

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
      try {
        return await claimAndServe(commandLine.options)
      } catch (error) {
        if (!(error instanceof Error)) throw error
        say(explain(error))
        return 1
      }
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

function explain(error: Error): string {
  if (error instanceof KafkaToolProblem) return error.message
  const { code, path } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return `This account may not write to ${path ?? 'a file of the broker'}: run as the user who made it, remove it, or set MILLRACE_HOME to a folder of your own.`
  }
  if (code === 'ENOSPC') return 'The disk is full: make room, then run it again.'
  return error.stack ?? error.message
}

/** Makes this process the only one that serves these data. */
async function claimAndServe(options: BrokerOptions): Promise<number> {
  const directory = resolve(
    process.env['MILLRACE_HOME'] || join(root, '.millrace'),
    'kafka',
    'data',
  )
  mkdirSync(directory, { recursive: true })
  const owner = join(directory, 'owner')
  const broker = join(directory, 'broker')
  while (!tryTake(owner)) {
    const other = ownerOf(owner)
    if (!other?.alive) continue
    const place = ownerOf(broker)
    const where = place?.alive ? `runs at ${place.note}` : 'is starting or stopping'
    throw new KafkaToolProblem(
      `A broker with these data ${where} already, started by process ${other.pid}. Use it, or stop it with Ctrl-C in its terminal or \`kill ${other.pid}\`.`,
    )
  }
  try {
    await awaitFormer(broker, say)
    if (options.reset) forget(directory)
    return await serve(options, directory, broker)
  } finally {
    rmSync(owner, { force: true })
  }
}

function forget(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name.startsWith('broker-')) rmSync(join(directory, name), { recursive: true, force: true })
  }
}

async function serve(options: BrokerOptions, directory: string, record: string): Promise<number> {
  await requireFree(options.port)
  const end = Promise.withResolvers<number>()
  const stop = new AbortController()
  let kafka: Kafka | undefined
  listen(stop, () => void kafka?.nodes[0]?.kill9())
  try {
    kafka = await startKafka({
      directory,
      port: options.port,
      heapMb: 512,
      // It lives long enough for Java's best compiler.
      jvm: [],
      onNotice: say,
      onEnd: () => end.resolve(1),
      signal: stop.signal,
    })
    // Nothing else keeps this process alive.
    const alive = setInterval(() => undefined, 60_000)
    stop.signal.addEventListener('abort', () => end.resolve(0), { once: true })
    const address = kafka.brokers.join()
    recordOwner(record, kafka.nodes[0]?.pid ?? 0, address)
    announce(kafka, address)
    const code = stop.signal.aborted ? 0 : await end.promise
    clearInterval(alive)
    if (code !== 0)
      say(`Its last words are in ${shortPath(join(directory, 'broker-1'))}/server.log.`)
    return code
  } catch (error) {
    if (stop.signal.aborted) return 0
    throw error
  } finally {
    await kafka?.stop()
    rmSync(record, { force: true })
    if (stop.signal.aborted) say('Stopped.')
  }
}

function announce(kafka: Kafka, address: string): void {
  const reset = 'npm run kafka -- --reset forgets them'
  say(`Apache Kafka ${kafka.version} listens on ${address}.`)
  say(`Run the shop on it, in another terminal: npm start -- --kafka ${address}`)
  say(`Its data are kept in ${shortPath(kafka.directory)}; ${reset}.`)
  say('Stop it with Ctrl-C.')
  process.stdout.write(`${address}\n`)
}

/** Hears what asks the broker to stop: once in order, Ctrl-C twice now. */
function listen(stop: AbortController, kill: () => void): void {
  let last = Number.NEGATIVE_INFINITY
  const request = (): void => {
    if (stop.signal.aborted) return
    say('Stopping …')
    stop.abort()
  }
  process.on('SIGINT', () => {
    const echo = performance.now() - last < echoMs
    last = performance.now()
    if (echo) return
    if (!stop.signal.aborted) return request()
    say('Stopped now. The next start repairs what was left.')
    kill()
    process.exit(130)
  })
  process.on('SIGTERM', request)
  process.on('SIGHUP', request)
  for (const stream of [process.stdout, process.stderr]) stream.on('error', request)
}

async function requireFree(port: number): Promise<void> {
  const server = createServer()
  try {
    const listening = once(server, 'listening')
    server.listen(port, '127.0.0.1')
    await listening
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why =
      code === 'EADDRINUSE'
        ? 'is taken by another program'
        : `cannot be used (${code ?? 'unknown'})`
    throw new KafkaToolProblem(
      `Port ${port} ${why}: pass --port with another one, such as ${port + 1}.`,
    )
  }
  server.close()
  await once(server, 'close')
}

/** `path` as people would type it from where they are. */
function shortPath(path: string): string {
  const short = relative(process.cwd(), path)
  return short === '' ? '.' : short.startsWith('..') ? path : short
}

process.exitCode = await main(process.argv.slice(2))
