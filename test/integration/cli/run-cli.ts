import assert from 'node:assert/strict'
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'node:test'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'

const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))

/** How a command ended. */
export interface CliResult {
  readonly code: number | null
  readonly stdout: string
  /** The same, byte for byte. */
  readonly bytes: Buffer
  readonly stderr: string
}

/** Options of a run. */
export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
}

/** A folder of its own with the real command line in it. */
export interface Cli {
  readonly folder: string
  /** Runs `millrace …args` to its end. */
  run(args: readonly string[], options?: CliOptions): Promise<CliResult>
  /** Starts `millrace …args`; ended with the test at the latest. */
  spawn(args: readonly string[], options?: CliOptions): ChildProcessWithoutNullStreams
  write(name: string, text: string): Promise<string>
}

/** The command line in an empty folder, with an environment that names no database unless `databaseUrl` is given. */
export async function cliIn(t: TestContext, databaseUrl?: string): Promise<Cli> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-cli-'))
  cleanup(t, () => rm(folder, { recursive: true, force: true }))
  const start = (
    args: readonly string[],
    { env }: CliOptions = {},
  ): ChildProcessWithoutNullStreams => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: folder,
      env: {
        PATH: process.env['PATH'],
        ...(databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl }),
        ...env,
      },
    })
    const closed = once(child, 'close')
    cleanup(t, async () => {
      child.kill('SIGKILL')
      await closed
    })
    return child
  }
  return {
    folder,
    spawn: start,
    async run(args, options = {}) {
      const child = start(args, options)
      const stdout: Buffer[] = []
      const stderr: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
      child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
      child.stdin.on('error', () => {
        // It may end without reading.
      })
      child.stdin.end(options.input ?? '')
      const [code] = (await once(child, 'close')) as [number | null]
      const bytes = Buffer.concat(stdout)
      return { code, bytes, stdout: bytes.toString(), stderr: Buffer.concat(stderr).toString() }
    },
    async write(name, text) {
      const file = join(folder, name)
      await writeFile(file, text)
      return file
    },
  }
}

/** Fails when a terminal would act on something in `text`, or would hide it. */
export function assertHarmless(text: string): void {
  assert.doesNotMatch(text, /[^\P{C}\n]|[\p{Zl}\p{Zp}]/u)
}

/** A migrated database and the command line that works with it. */
export async function cliWithDatabase(
  t: TestContext,
): Promise<Cli & Awaited<ReturnType<typeof testDatabase>>> {
  const database = await testDatabase(t)
  return { ...(await cliIn(t, database.url)), ...database }
}
