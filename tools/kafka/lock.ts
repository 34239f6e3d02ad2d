import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { systemClock } from '../../src/core/clock.ts'
import type { InstallOptions } from './install-options.ts'
import { KafkaToolProblem } from './problem.ts'

const pollMs = 200
/** Longer than the guardian waits before it kills. */
const formerTimeoutMs = 40_000

/**
 * Runs `action` while no other process of this machine is in it: the file names the process that is. One left by a dead
 * process is taken over.
 */
export async function exclusively<T>(
  file: string,
  { say, signal }: InstallOptions,
  action: () => Promise<T>,
): Promise<T> {
  let said = false
  while (!tryTake(file)) {
    if (!said) say(`Waiting for process ${ownerOf(file)?.pid ?? '?'}, which is at the same work …`)
    said = true
    await systemClock.sleep(pollMs, signal && { signal })
  }
  try {
    return await action()
  } finally {
    rmSync(file, { force: true })
  }
}

/** Writes the file that says: this process. False when a living process has it. */
export function tryTake(file: string): boolean {
  const mine = `${file}-${process.pid}`
  try {
    // With its text in one step: a file without would belong to nobody for ever.
    recordOwner(mine, process.pid)
    linkSync(mine, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(mine, { force: true })
  }
  const owner = ownerOf(file)
  // None: released in between; the caller tries again.
  if (owner === undefined || owner.alive) return false
  try {
    // Of several that find a dead owner one wins the rename. What it moved may be the file of one that has just taken
    // over: then it goes back.
    renameSync(file, mine)
    if (ownerOf(mine)?.text === owner.text) rmSync(mine)
    else renameSync(mine, file)
  } catch {
    // Somebody else has won.
  }
  return false
}

/** What a file of ours says about a process. */
export interface Owner {
  readonly pid: number
  readonly alive: boolean
  readonly note: string
  /** All of it. */
  readonly text: string
}

/** Who has the file; undefined when nobody has. */
export function ownerOf(file: string): Owner | undefined {
  const text = textOf(file)
  const [pid = '', start = '', ...note] = text.trim().split(' ')
  if (start === '') return undefined
  const alive = isAlive(Number(pid)) && startOf(Number(pid)) === start
  return { pid: Number(pid), alive, note: note.join(' '), text }
}

/** Writes a file that names a process. */
export function recordOwner(file: string, pid: number, note = ''): void {
  writeFileSync(file, `${pid} ${startOf(pid)} ${note}\n`)
}

/**
 * Waits for a process that is ending because its parent has died.
 * @throws KafkaToolProblem when it does not end.
 */
export async function awaitFormer(file: string, say: (line: string) => void): Promise<void> {
  const former = ownerOf(file)
  if (former?.alive) say(`Waiting for the former broker, process ${former.pid}, to end …`)
  const deadline = systemClock.monotonicMs() + formerTimeoutMs
  while (ownerOf(file)?.alive) {
    if (systemClock.monotonicMs() > deadline) {
      throw new KafkaToolProblem(
        `The former broker, process ${former?.pid ?? '?'}, has not ended. End it: kill ${former?.pid ?? '?'}`,
      )
    }
    await systemClock.sleep(pollMs)
  }
}

/** Whether there is such a process, also another user's, that has not ended. */
export function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  // Where nobody collects orphans (a container without init) an ended process stays as a zombie.
  return statOf(pid)[0] !== 'Z'
}

/** When the process started, in the kernel's ticks, to tell it from a later one with the same number; Linux only. */
function startOf(pid: number): string {
  return statOf(pid)[19] ?? '-'
}

/** The process's state, and what the kernel lists after it; empty where there is no /proc. */
function statOf(pid: number): readonly string[] {
  // The field before is a name that may contain spaces and brackets.
  const text = textOf(`/proc/${pid}/stat`)
  return text === '' ? [] : text.replace(/^.*\) /s, '').split(' ')
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No file, no text.
    return ''
  }
}
