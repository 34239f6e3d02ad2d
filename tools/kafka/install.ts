import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { exclusively } from './lock.ts'
import { KafkaToolProblem } from './problem.ts'

const root = resolve(import.meta.dirname, '..', '..')
const pom = join(import.meta.dirname, 'pom.xml')
const copyDependencies = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
/** Oldest Java that Kafka's brokers run on. */
const oldestJava = 17

/** An Apache Kafka on this disk. */
export interface KafkaInstall {
  /** For example `4.3.1`. */
  readonly version: string
  readonly java: string
  /** The value of Java's `-cp`: broker and Java client. */
  readonly classPath: string
}

let installing: Promise<KafkaInstall> | undefined

/**
 * The Apache Kafka that `pom.xml` names, resolved by Maven into `.millrace/kafka/` of this checkout when it is not there
 * yet; several processes may ask at once. On Debian as root it installs Java and Maven too if they are missing.
 *
 * @param say told, in a line, what takes time. Default: stderr.
 * @throws KafkaToolProblem saying what to install.
 */
export async function ensureKafka(
  say: (line: string) => void = (line) => console.error(line),
): Promise<KafkaInstall> {
  installing ??= install(say)
  try {
    return await installing
  } catch (error) {
    // The next caller may find the network back.
    installing = undefined
    throw error
  }
}

async function install(say: (line: string) => void): Promise<KafkaInstall> {
  const text = readFileSync(pom, 'utf8')
  const version = /<kafka\.version>([^<]+)</.exec(text)?.[1] ?? 'unknown'
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8)
  const home = join(root, '.millrace', 'kafka')
  const jars = join(home, `${version}-${hash}`)
  const ready = async (): Promise<boolean> => existsSync(jars) && (await hasJava())
  if (!(await ready())) {
    mkdirSync(home, { recursive: true })
    await exclusively(join(home, 'install.lock'), say, async () => {
      if (await ready()) return
      await ensurePrograms(!existsSync(jars), say)
      if (!existsSync(jars)) await resolveJars(jars, version, say)
    })
  }
  const names = readdirSync(jars).filter((name) => name.endsWith('.jar'))
  return { version, java: 'java', classPath: names.map((name) => join(jars, name)).join(':') }
}

async function resolveJars(
  jars: string,
  version: string,
  say: (line: string) => void,
): Promise<void> {
  say(`Fetching Apache Kafka ${version} with Maven (once, some 45 MB) …`)
  // Nobody else is at it, so whatever has such a name was left by a dead process.
  const partial = `${jars}-partial`
  rmSync(partial, { recursive: true, force: true })
  const flags = ['-B', '-f', pom, '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  const { code, output } = await runProgram('mvn', [...flags, copyDependencies])
  if (code !== 0) {
    throw new KafkaToolProblem(
      `Maven could not fetch Apache Kafka ${version} (${code}). Check that Maven Central, or the mirror in ` +
        `~/.m2/settings.xml, can be reached, then run the same command again. Its last words:\n${output.slice(-2_000)}`,
    )
  }
  renameSync(partial, jars)
}

async function ensurePrograms(withMaven: boolean, say: (line: string) => void): Promise<void> {
  const missing: string[] = []
  if (!(await hasJava())) missing.push('default-jdk-headless')
  if (withMaven && !(await starts('mvn', ['-version']))) missing.push('maven')
  if (missing.length === 0) return
  const debian = existsSync('/etc/debian_version') && process.getuid?.() === 0
  if (!debian) throw new KafkaToolProblem(missingText(missing))
  say(`Installing ${missing.join(' and ')} with apt-get (once) …`)
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' }
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

async function starts(program: string, args: readonly string[]): Promise<boolean> {
  return (await runProgram(program, args)).code === 0
}

/** Runs a program to its end; `code` is its exit code, its signal, or why it could not be started. */
export async function runProgram(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | string; readonly output: string }> {
  const { promise, resolve: settle } = Promise.withResolvers<{
    code: number | string
    output: string
  }>()
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
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
