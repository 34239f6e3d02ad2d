import { spawn } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Figures } from '../../../apps/shop/src/figures.ts'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import { eventually } from '../../support/wait.ts'
import type { Exit } from '../../support/process.ts'

const MAIN = new URL('../../../apps/shop/src/main.ts', import.meta.url).pathname
const LAUNCHER = new URL('../../../scripts/run.mjs', import.meta.url).pathname

/** The shop in a process of its own, as a user starts it. */
export interface ShopProcess {
  readonly pid: number
  /** The figures so far. */
  readonly lines: readonly Figures[]
  readonly stdout: string
  readonly stderr: string
  readonly exited: Promise<Exit>
  /** The first line, of those so far and those to come, that fits. */
  line(fits: (figures: Figures) => boolean): Promise<Figures>
  /** Waits until something is said. */
  says(text: RegExp): Promise<void>
  kill(signal: NodeJS.Signals): void
  /** As when the program that reads the output ends. */
  closeOutput(): void
}

/** How to start it. */
export interface ShopProcessOptions {
  /** Place of its files. */
  readonly home: string
  /** Through `scripts/run.mjs`, as `npm start` does it. */
  readonly launcher?: boolean
}

/** A folder for the shop's files, removed with the test. */
export async function shopHome(t: TestScope): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'shop-home-'))
  // The account that runs PostgreSQL for root may pass; else its files would live somewhere else, and stay.
  await chmod(home, 0o711)
  cleanup(t, () => rm(home, { recursive: true, force: true }))
  return home
}

/** Starts the shop without a terminal; whatever is left of it is killed at the end of the test. */
export function startShop(
  t: TestScope,
  args: readonly string[],
  { home, launcher = false }: ShopProcessOptions,
): ShopProcess {
  const command = launcher ? [LAUNCHER, MAIN, ...args] : [MAIN, ...args]
  const child = spawn(process.execPath, command, {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, MILLRACE_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const { pid } = child
  if (pid === undefined) throw new Error('the shop could not be started')
  const lines: Figures[] = []
  let stdout = ''
  let stderr = ''
  let exit: Exit | undefined
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout += `${line}\n`
    if (line.startsWith('{')) lines.push(JSON.parse(line) as Figures)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      exit = { code, signal }
      resolve(exit)
    })
  })
  cleanup(t, async () => {
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // All of them have ended.
    }
    await exited
  })
  async function until<T>(check: () => T | undefined): Promise<T> {
    const found = await eventually(
      () => {
        const result = check()
        if (result !== undefined) return { result }
        return exit === undefined ? undefined : { result: undefined }
      },
      { timeoutMs: 90_000 },
    )
    if (found?.result !== undefined) return found.result
    throw new Error(`the shop has ended (${exit?.code ?? exit?.signal}):\n${stdout}${stderr}`)
  }
  return {
    pid,
    lines,
    exited,
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr
    },
    line: (fits) => until(() => lines.find(fits)),
    says: async (text) => {
      await until(() => (text.test(stderr) ? true : undefined))
    },
    kill: (signal) => {
      child.kill(signal)
    },
    closeOutput: () => child.stdout.destroy(),
  }
}

/** Starts the shop without new purchases until nothing is left to do; gives its last figures. */
export async function workOff(
  t: TestScope,
  args: readonly string[],
  options: ShopProcessOptions,
): Promise<Figures> {
  const shop = startShop(t, [...args, '--json', '--rate', '0'], options)
  await shop.line(
    ({ database, lag, backlog, outbox }) =>
      database === 'up' && lag === 0 && backlog === 0 && outbox === 0,
  )
  shop.kill('SIGTERM')
  const { code } = await shop.exited
  const last = shop.lines.at(-1)
  if (code !== 0 || last === undefined) throw new Error(`it ended with ${code}:\n${shop.stderr}`)
  return last
}
