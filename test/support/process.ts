import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'

/** Options of {@link spawnNode}. */
export interface SpawnOptions {
  readonly args?: readonly string[]
  /** Added to this process's environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** One line of JSON that a scenario has printed: `console.log(JSON.stringify({ event: 'ready', … }))`. */
export interface ScenarioEvent {
  readonly event: string
  readonly [key: string]: unknown
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A scenario that runs in a process of its own. */
export interface Scenario {
  readonly pid: number
  /** The events so far, in order. */
  readonly events: readonly ScenarioEvent[]
  /** Everything it has printed so far, both streams. */
  readonly output: string
  /** Resolves when it has ended. */
  readonly exited: Promise<Exit>
  /**
   * The next event of that name (those given out before are not given again). Rejects when the process ends first, or
   * after `timeoutMs` (default 20,000).
   */
  waitFor(event: string, options?: { readonly timeoutMs?: number }): Promise<ScenarioEvent>
  /** Sends a signal to the scenario's process alone. Default SIGTERM. */
  kill(signal?: NodeJS.Signals): void
  /** Writes a line to its stdin. */
  send(line: string): void
}

/**
 * Runs a TypeScript file on the Node of this process, in a process group of its own. Its lines of JSON are events. At
 * the end of the test the whole group is killed, and if the test failed its output is printed.
 *
 * @param file URL (`new URL('./scenario.ts', import.meta.url)`) or path
 */
export function spawnNode(
  t: TestContext,
  file: URL | string,
  options: SpawnOptions = {},
): Scenario {
  const { args = [] } = options
  const path = typeof file === 'string' ? file : file.pathname
  const child = spawn(process.execPath, [path, ...args], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  const pid = child.pid
  if (pid === undefined) throw new Error(`${path} could not be started`)
  const events: ScenarioEvent[] = []
  const taken = new Set<ScenarioEvent>()
  const wakers = new Set<() => void>()
  const wake = (): void => {
    for (const waker of Array.from(wakers)) waker()
  }
  let output = ''
  let exit: Exit | undefined
  createInterface({ input: child.stdout }).on('line', (line) => {
    output += `${line}\n`
    const event = parseEvent(line)
    if (event !== undefined) events.push(event)
    wake()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stdin.on('error', () => {
    // It ended before it read; its end is what the test sees.
  })
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      exit = { code, signal }
      resolve(exit)
      wake()
    })
  })

  t.after(async () => {
    killGroup(pid)
    await exited
    // The types lack it.
    const { passed } = t as TestContext & { readonly passed: boolean }
    if (!passed) console.error(`output of ${path} (process ${pid}):\n${output}`)
  })

  return {
    pid,
    events,
    exited,
    get output() {
      return output
    },
    waitFor: (name, { timeoutMs = 20_000 } = {}) =>
      new Promise((resolve, reject) => {
        const settle = (action: () => void): void => {
          clearTimeout(timer)
          wakers.delete(look)
          action()
        }
        const look = (): void => {
          const event = events.find((one) => one.event === name && !taken.has(one))
          if (event !== undefined) {
            taken.add(event)
            settle(() => resolve(event))
          } else if (exit !== undefined) {
            const how = exit.code ?? String(exit.signal)
            settle(() => reject(new Error(`${path} ended (${how}) before '${name}':\n${output}`)))
          }
        }
        const timer = setTimeout(() => {
          settle(() => reject(new Error(`no '${name}' within ${timeoutMs} ms:\n${output}`)))
        }, timeoutMs)
        wakers.add(look)
        look()
      }),
    kill: (signal = 'SIGTERM') => {
      child.kill(signal)
    },
    send: (line) => {
      child.stdin.write(`${line}\n`)
    },
  }
}

function parseEvent(line: string): ScenarioEvent | undefined {
  try {
    const value: unknown = JSON.parse(line)
    const isEvent = typeof value === 'object' && value !== null && 'event' in value
    return isEvent ? (value as ScenarioEvent) : undefined
  } catch {
    // Not every line is an event.
    return undefined
  }
}

/** Whether all threads of a process are stopped by a signal, as the kernel says. */
export function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of them have ended.
  }
}
