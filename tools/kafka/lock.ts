import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { systemClock } from '../../src/core/clock.ts'

const pollMs = 200

/**
 * Runs `action` while no other process of this machine is in it: the file names the process that is. One left by a dead
 * process is taken over.
 *
 * @param say told once when there is somebody to wait for
 */
export async function exclusively<T>(
  file: string,
  say: (line: string) => void,
  action: () => Promise<T>,
): Promise<T> {
  let said = false
  while (!tryTake(file)) {
    if (!said) say(`Waiting for process ${ownerOf(file)?.pid ?? '?'}, which is at the same work …`)
    said = true
    await systemClock.sleep(pollMs)
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
    writeFileSync(mine, `${process.pid} ${startOf(process.pid)}\n`)
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

/** Who has the file; undefined when nobody has. */
export function ownerOf(
  file: string,
): { readonly pid: number; readonly alive: boolean; readonly text: string } | undefined {
  const text = textOf(file)
  const [pid = '', start = ''] = text.trim().split(' ')
  if (start === '') return undefined
  return { pid: Number(pid), alive: isAlive(Number(pid)) && startOf(Number(pid)) === start, text }
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
