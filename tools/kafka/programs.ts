import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { InstallOptions } from './install-options.ts'
import { KafkaToolProblem } from './problem.ts'

/** Oldest Java that Kafka's brokers run on. */
const oldestJava = 17

/** The file of a program on the PATH, undefined when there is none. */
export function findProgram(name: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      return realpathSync(file)
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}

/**
 * Sees to it that there are Java and, if asked for, Maven: on Debian as root it installs them.
 * @throws KafkaToolProblem saying what to install.
 */
export async function ensurePrograms(
  withMaven: boolean,
  { say, signal }: InstallOptions,
): Promise<void> {
  const missing: string[] = []
  if (!(await hasJava())) missing.push('default-jdk-headless')
  if (withMaven && findProgram('mvn') === undefined) missing.push('maven')
  if (missing.length === 0) return
  const debian = existsSync('/etc/debian_version') && process.getuid?.() === 0
  if (!debian) throw new KafkaToolProblem(missingText(missing))
  say(`Installing ${missing.join(' and ')} with apt-get (once) …`)
  const quiet = { environment: { DEBIAN_FRONTEND: 'noninteractive' }, signal }
  const install = ['install', '-y', '--no-install-recommends', ...missing]
  // A fresh image has no package lists; a machine with a mirror of its own may have nothing to update from.
  await runProgram('apt-get', ['update'], quiet)
  const { code, output } = await runProgram('apt-get', install, quiet)
  if (code !== 0) {
    throw new KafkaToolProblem(
      `apt-get ${install.join(' ')} failed (${code}). ${missingText(missing)} Its last words:\n${output.slice(-2_000)}`,
    )
  }
  if (!(await hasJava())) throw new KafkaToolProblem(missingText(['default-jdk-headless']))
}

function missingText(missing: readonly string[]): string {
  const needs = `A local Kafka broker needs Java ${oldestJava} or newer (a JDK) and Maven on the PATH`
  return (
    `${needs}; missing here: ${missing.map((name) => (name === 'maven' ? 'mvn' : 'java')).join(', ')}. ` +
    `Install them (Debian, Ubuntu: apt-get install default-jdk-headless maven; Fedora: dnf install ` +
    `java-latest-openjdk-devel maven; macOS: brew install openjdk maven), then run the same command again.`
  )
}

async function hasJava(): Promise<boolean> {
  const { code, output } = await runProgram('java', ['-version'])
  const major = Number(/version "(?:1\.)?(\d+)/.exec(output)?.[1] ?? 0)
  return code === 0 && major >= oldestJava
}

interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined
}

/** Runs a program to its end; `code` is its exit code, its signal, or why it could not be started. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { environment, signal }: RunOptions = {},
): Promise<{ readonly code: number | string; readonly output: string }> {
  const { promise, resolve: settle } = Promise.withResolvers<{
    code: number | string
    output: string
  }>()
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal && { signal }),
    env: { ...process.env, ...environment },
  })
  let output = ''
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-50_000)
  }
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  child.once('error', (error) => settle({ code: error.message, output }))
  child.once('close', (code, signal) => settle({ code: code ?? String(signal), output }))
  return promise
}
