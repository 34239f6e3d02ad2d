import { spawn, type ChildProcess } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { throwIfAborted } from '../core/abort.ts'
import { systemClock } from '../core/clock.ts'
import { isAlive } from './embedded-postgres-claim.ts'
import { serverFailure } from './embedded-postgres-failure.ts'
import type { Guardian } from './embedded-postgres-guardian.ts'
import { makeAccountFolder, type Place } from './embedded-postgres-place.ts'

/** How long (ms) a server may take to start, recovery after a crash included. */
const startTimeoutMs = 120_000
/** How long (ms) the backends of a killed server are waited for. */
const backendTimeoutMs = 30_000
const pollMs = 20
const portAttempts = 5

/** PostgreSQL's settings by name, as in postgresql.conf. */
export type Settings = Readonly<Record<string, string | number | boolean>>

interface StartOptions {
  /** Undefined: any free one. */
  readonly port: number | undefined
  readonly settings: Settings
  readonly guardian: Guardian
  readonly signal: AbortSignal | undefined
}

/** A running postmaster. */
export interface Postmaster {
  readonly child: ChildProcess
  readonly pid: number
  readonly port: number
}

/** Makes the data folder if there is none. A crash half-way leaves no half of it: the folder gets its name at the end. */
export async function ensureCluster(
  place: Place,
  options: { readonly password: string; readonly durable: boolean; readonly guardian: Guardian },
): Promise<void> {
  removePartial(place)
  if (existsSync(join(place.data, 'PG_VERSION'))) return
  const partial = join(place.directory, `data-partial-${process.pid}`)
  const passwordFile = join(place.directory, `password-partial-${process.pid}`)
  makeAccountFolder(place, partial)
  writeFresh(passwordFile, `${options.password}\n`, 0o600)
  if (place.account !== undefined) chownSync(passwordFile, place.account.uid, place.account.gid)
  try {
    const access = ['--username', 'postgres', '--pwfile', passwordFile, '--auth', 'scram-sha-256']
    // The password is random: hashing it often would only make each new connection slower.
    const hashing = ['--set', 'scram_iterations=1']
    const text = ['--encoding', 'UTF8', '--locale', 'C', '--no-instructions']
    const syncing = options.durable ? [] : ['--no-sync']
    const args = ['--pgdata', partial, ...access, ...hashing, ...text, ...syncing]
    const child = spawnAs(place, 'initdb', args, ['ignore', 'pipe', 'pipe'])
    options.guardian.watch(child.pid)
    let output = ''
    const collect = (chunk: Buffer): void => {
      output += chunk.toString()
    }
    child.stdout?.on('data', collect)
    child.stderr?.on('data', collect)
    const [code, signal] = await ended(child)
    options.guardian.watch(undefined)
    if (code !== 0) {
      throw serverFailure(`initdb ended with ${code ?? String(signal)} in ${partial}`, output)
    }
    renameSync(partial, place.data)
  } finally {
    rmSync(passwordFile, { force: true })
    rmSync(partial, { recursive: true, force: true })
  }
}

function removePartial(place: Place): void {
  for (const name of readdirSync(place.directory)) {
    const pid = /^(?:data|password|binaries)-partial-(\d+)$/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) {
      rmSync(join(place.directory, name), { recursive: true, force: true })
    }
  }
}

/** Starts the server and waits until it takes connections. */
export async function startPostmaster(place: Place, options: StartOptions): Promise<Postmaster> {
  const deadline = systemClock.monotonicMs() + backendTimeoutMs
  for (let attempt = 1; ; attempt += 1) {
    throwIfAborted(options.signal)
    const port = options.port ?? (await freePort())
    const started = await tryStart(place, port, options)
    if ('pid' in started) return started
    const { output, ended: how } = started
    const portTaken = /Address already in use/.test(output)
    if (portTaken && options.port === undefined && attempt < portAttempts) continue
    // The backends of a killed server hold its memory until they notice.
    const inUse = /pre-existing shared memory block|lock file .* already exists/.test(output)
    if (!inUse || systemClock.monotonicMs() > deadline) {
      throw serverFailure(`PostgreSQL did not start on 127.0.0.1:${port} (${how})`, output)
    }
    await systemClock.sleep(100, options.signal && { signal: options.signal })
  }
}

async function tryStart(
  place: Place,
  port: number,
  options: StartOptions,
): Promise<Postmaster | { readonly output: string; readonly ended: string }> {
  const { guardian, signal } = options
  const logFile = join(place.directory, 'server.log')
  const confFile = join(place.directory, 'postgresql.conf')
  writeFresh(confFile, configuration(port, options.settings), 0o644)
  writeFresh(logFile, '', 0o644)
  const log = openSync(logFile, 'a')
  const args = ['-D', place.data, '-c', `config_file=${confFile}`]
  // A session of its own: Ctrl-C is for the application, which stops its database last.
  const child = spawnAs(place, 'postgres', args, ['ignore', log, log], { detached: true })
  closeSync(log)
  guardian.watch(child.pid)
  const end = ended(child)
  let how: string | undefined
  void end.then(([code, killer, error]) => {
    guardian.watch(undefined)
    how = error === undefined ? `it ended with ${code ?? String(killer)}` : error.message
  })
  const deadline = systemClock.monotonicMs() + startTimeoutMs
  while (how === undefined && child.pid !== undefined) {
    if (isReady(place, child.pid)) {
      child.unref()
      return { child, pid: child.pid, port }
    }
    if (signal?.aborted || systemClock.monotonicMs() > deadline) {
      child.kill('SIGQUIT')
      await end
      throwIfAborted(signal)
      how = `it was not ready after ${startTimeoutMs / 1000} s`
      break
    }
    await systemClock.sleep(pollMs)
  }
  if (how === undefined) await end
  const output = readIfThere(logFile) || (how ?? '')
  return { output, ended: how ?? 'it could not be started' }
}

function configuration(port: number, settings: Settings): string {
  const all: Settings = {
    timezone: 'UTC',
    log_timezone: 'UTC',
    default_text_search_config: 'pg_catalog.english',
    ...settings,
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    logging_collector: false,
    log_destination: 'stderr',
  }
  const lines = Object.entries(all).map(([name, value]) => {
    const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)
    return `${name} = '${text.replaceAll("'", "''")}'\n`
  })
  return lines.join('')
}

/** The postmaster writes `ready` into the eighth line of its file when it takes connections. */
function isReady(place: Place, pid: number): boolean {
  const lines = readIfThere(join(place.data, 'postmaster.pid')).split('\n')
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

/** Writes a new file in place of the one there, so that a link left under its name is never followed. */
export function writeFresh(path: string, text: string, mode: number): void {
  rmSync(path, { force: true })
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' })
  // Whatever the umask.
  chmodSync(path, mode)
}

/** The file's text, empty when there is none. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No file, no text.
    return ''
  }
}

type Ending = readonly [code: number | null, signal: NodeJS.Signals | null, error?: Error]

function ended(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve([null, null, error]))
    child.once('close', (code, signal) => resolve([code, signal]))
  })
}

function spawnAs(
  place: Place,
  program: 'initdb' | 'postgres',
  args: readonly string[],
  stdio: ('ignore' | 'pipe' | number)[],
  options: { readonly detached?: boolean } = {},
): ChildProcess {
  const { account } = place
  return spawn(join(place.native, 'bin', program), args, {
    ...options,
    ...(account && { uid: account.uid, gid: account.gid }),
    stdio,
    // Where this process stands may be closed to the account.
    cwd: place.directory,
    env: {
      PATH: process.env['PATH'],
      LC_ALL: 'C',
      TZ: 'UTC',
      LD_LIBRARY_PATH: join(place.native, 'lib'),
    },
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new TypeError('no port was given')
  return address.port
}
