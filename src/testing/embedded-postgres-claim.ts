import { existsSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { throwIfAborted } from '../core/abort.ts'
import { systemClock } from '../core/clock.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Place } from './embedded-postgres-place.ts'

/** How long (ms) a server whose owner has died is waited for: its guardian is stopping it. */
const orphanTimeoutMs = 30_000
const pollMs = 20

/**
 * Makes this process the only owner of the folder, waits for what a dead owner has left to end, and removes what would
 * be mistaken for a living server. Gives back the release.
 *
 * @throws E_DB_CONNECT when a living process owns it, or a server of somebody else runs there.
 */
export async function claimPlace(
  place: Place,
  signal: AbortSignal | undefined,
): Promise<() => void> {
  refuseForeignData(place)
  takeOwnership(place)
  const release = (): void => rmSync(ownerFile(place), { force: true })
  try {
    await awaitFormer(place, signal)
    return release
  } catch (error) {
    release()
    throw error
  }
}

function refuseForeignData({ data }: Place): void {
  if (!existsSync(data) || existsSync(join(data, 'PG_VERSION'))) return
  throw new MillraceError(
    'E_DB_CONNECT',
    `${data} exists and is not a data folder of PostgreSQL, so nothing is written there. Pass another \`directory\`.`,
  )
}

function ownerFile(place: Place): string {
  return join(place.directory, 'owner')
}

function takeOwnership(place: Place): void {
  const file = ownerFile(place)
  for (;;) {
    try {
      writeFileSync(file, `${process.pid} ${startOf(process.pid)}\n`, { flag: 'wx', mode: 0o644 })
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unwritable(place, error)
    }
    const [pid = '', start] = textOf(file).trim().split(' ')
    if (isAlive(Number(pid)) && startOf(Number(pid)) === start) {
      throw inUse(place, `process ${pid}`)
    }
    try {
      // Of several that find a dead owner, one wins the rename; a living owner written meanwhile is put back by no one,
      // so the content is looked at once more.
      const aside = `${file}-partial-${process.pid}`
      renameSync(file, aside)
      const [movedPid, movedStart] = textOf(aside).trim().split(' ')
      if (movedPid !== pid || movedStart !== start) renameSync(aside, file)
      else rmSync(aside)
    } catch {
      // Somebody else has won.
    }
  }
}

async function awaitFormer(place: Place, signal: AbortSignal | undefined): Promise<void> {
  const pidFile = join(place.data, 'postmaster.pid')
  const deadline = systemClock.monotonicMs() + orphanTimeoutMs
  for (;;) {
    throwIfAborted(signal)
    const pid = Number(textOf(pidFile).split('\n')[0])
    if (!isAlive(pid)) return
    if (!isServerOf(pid, place.data)) {
      // After a crash: the number now belongs to a process that has nothing to do with it.
      rmSync(pidFile, { force: true })
      return
    }
    if (systemClock.monotonicMs() > deadline) throw inUse(place, `PostgreSQL, process ${pid}`)
    await systemClock.sleep(pollMs, signal && { signal })
  }
}

function inUse(place: Place, by: string): MillraceError {
  return new MillraceError(
    'E_DB_CONNECT',
    `The PostgreSQL in ${place.directory} is in use by ${by}. Stop that one first, or pass another \`directory\`.`,
  )
}

function unwritable(place: Place, cause: unknown): MillraceError {
  return new MillraceError(
    'E_DB_CONNECT',
    `Cannot write to ${place.directory}: ${cause instanceof Error ? cause.message : String(cause)}. ` +
      `Run as the user who made it, remove it, or pass another \`directory\`.`,
    { cause },
  )
}

function isServerOf(pid: number, data: string): boolean {
  if (process.platform !== 'linux') return true
  try {
    // A postmaster's working directory is its data folder.
    return readlinkSync(`/proc/${pid}/cwd`) === data
  } catch {
    // Another user's process or one that has just ended, while the data are ours: not their server.
    return false
  }
}

/** Whether there is such a process, also another user's. */
export function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** When the process started, in the kernel's ticks, to tell it from a later one with the same number; Linux only. */
function startOf(pid: number): string {
  // The second field is a name that may contain spaces and brackets; the 22nd is the start.
  const fields = textOf(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ')
  return fields[19] ?? '-'
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No file, no text.
    return ''
  }
}
