import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import type { KafkaInstall } from './install.ts'
import { aliveBrokers, isListening } from './ask.ts'
import { KafkaToolProblem } from './problem.ts'

/** How long (ms) a broker may take until it answers, on a busy machine. */
const startTimeoutMs = 120_000
/** How long (ms) a stop may take before the broker is killed. */
const stopPatienceMs = 30_000
const pollMs = 50
const logTail = 3_000

/** One broker, a Java process of its own. */
export interface KafkaNode {
  readonly id: number
  /** Where it listens for clients, on 127.0.0.1. */
  readonly port: number
  /** Undefined while it does not run. */
  readonly pid: number | undefined
  /** Folder with its `server.log`, `server.properties` and `data`. */
  readonly logDirectory: string
  /** Ends it with SIGKILL; its data stay. */
  kill9(): Promise<void>
  /** SIGSTOP: it keeps its connections and says nothing. */
  pause(): void
  resume(): void
  /** Shuts it down in order; its data stay. Safe to call twice. */
  stop(): Promise<void>
  /** Starts it again on the same ports and data, after {@link kill9} or {@link stop}; stops it first if it runs. */
  restart(): Promise<void>
}

export interface NodeOptions {
  readonly id: number
  readonly directory: string
  readonly port: number
  readonly internalPort: number
  readonly install: KafkaInstall
  readonly jvm: readonly string[]
  /** Called whenever the process has changed. */
  readonly onProcess: () => void
  readonly onNotice: (line: string) => void
  /** Called when the process has ended by itself. */
  readonly onEnd: () => void
}

export class Node implements KafkaNode {
  readonly id: number
  readonly port: number
  readonly logDirectory: string
  readonly #options: NodeOptions
  #child: ChildProcess | undefined
  /** An end that we asked for, so it is no news. */
  #ending = false

  constructor(options: NodeOptions) {
    this.#options = options
    this.id = options.id
    this.port = options.port
    this.logDirectory = options.directory
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Starts the process, without waiting for its answer. */
  launch(): void {
    const { directory, install, jvm } = this.#options
    const log = openSync(join(directory, 'server.log'), 'a')
    const properties = join(directory, 'server.properties')
    // What a killed Java leaves for others to clean up goes with the broker's folder, or is not made.
    const files = ['-XX:-UsePerfData', `-Djava.io.tmpdir=${directory}`]
    // A session of its own: Ctrl-C is for the application, which stops its broker last.
    const child = spawn(
      install.java,
      [...files, ...jvm, '-cp', install.classPath, 'kafka.Kafka', properties],
      { detached: true, stdio: ['ignore', log, log], cwd: directory },
    )
    closeSync(log)
    child.unref()
    this.#child = child
    this.#ending = false
    const gone = (how: string): void => {
      if (this.#child !== child) return
      this.#child = undefined
      this.#options.onProcess()
      if (this.#ending) return
      const taken = this.#lastWords().includes('Address already in use')
        ? `: another program has taken one of its ports, such as ${this.port}; pass --port with another one`
        : ''
      this.#options.onNotice(`Kafka broker ${this.id} ended by itself (${how})${taken}.`)
      this.#options.onEnd()
    }
    child.once('error', (error) => gone(error.message))
    child.once('exit', (code, signal) => gone(String(code ?? signal)))
    this.#options.onProcess()
  }

  /**
   * Waits until it answers and sees `brokers` alive brokers, itself among them.
   * @throws KafkaToolProblem with the end of its log when it ends instead, or takes too long.
   */
  async ready(brokers: number, signal?: AbortSignal): Promise<void> {
    const child = this.#child
    const deadline = systemClock.monotonicMs() + startTimeoutMs
    for (;;) {
      signal?.throwIfAborted()
      if (child === undefined || this.#child !== child) throw this.#problem('ended')
      try {
        const alive = await aliveBrokers(this.#options.internalPort)
        const answers = alive.includes(this.id) && alive.length >= brokers
        // It may answer the other brokers before it listens for clients.
        if (answers && (await isListening(this.port))) return
      } catch {
        // Not listening yet, or not ready to answer.
      }
      if (systemClock.monotonicMs() > deadline) {
        throw this.#problem(`was not ready after ${startTimeoutMs / 1000} s`)
      }
      await systemClock.sleep(pollMs, signal && { signal })
    }
  }

  #problem(what: string): KafkaToolProblem {
    return new KafkaToolProblem(
      `Kafka broker ${this.id} on 127.0.0.1:${this.port} ${what}. The end of its log:\n${this.#lastWords()}`,
    )
  }

  #lastWords(): string {
    try {
      return readFileSync(join(this.logDirectory, 'server.log'), 'utf8').slice(-logTail)
    } catch {
      // Whoever deleted the broker's folder need not end this process too.
      return ''
    }
  }

  async kill9(): Promise<void> {
    await this.#end(['SIGKILL'])
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    this.resume()
    await this.#end(['SIGTERM', 'SIGKILL'])
  }

  async restart(): Promise<void> {
    await this.stop()
    this.launch()
    await this.ready(1)
  }

  /** Sends the first signal, and the next one when it has not ended the broker in time. */
  async #end(signals: readonly NodeJS.Signals[]): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    this.#ending = true
    const exited = once(child, 'exit')
    child.ref()
    for (const signal of signals) {
      child.kill(signal)
      const patience = new AbortController()
      const timeout = systemClock
        .sleep(stopPatienceMs, { signal: patience.signal })
        .catch(() => undefined)
      const gone = await Promise.race([exited.then(() => true), timeout])
      patience.abort()
      if (gone === true) return
    }
    await exited
  }
}
