import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { userInfo } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import type { InstallOptions } from './install-options.ts'
import { exclusively } from './lock.ts'
import { KafkaToolProblem } from './problem.ts'
import { ensurePrograms, findProgram, runProgram } from './programs.ts'

const root = resolve(import.meta.dirname, '..', '..')
const pom = join(import.meta.dirname, 'pom.xml')
const copyDependencies = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'

/** An Apache Kafka on this disk. */
export interface KafkaInstall {
  /** For example `4.3.1`. */
  readonly version: string
  /** Folder of this and of what is made from it. */
  readonly home: string
  /** Path of the program. */
  readonly java: string
  /** The value of Java's `-cp`: broker and Java client. */
  readonly classPath: string
}

/**
 * The Apache Kafka that `pom.xml` names, resolved by Maven into `.millrace/kafka/` of this checkout when it is not there
 * yet; several processes may ask at once. On Debian as root it installs Java and Maven too if they are missing.
 *
 * @param home where it is kept
 * @throws KafkaToolProblem saying what to install.
 */
export async function ensureKafka(
  options: InstallOptions,
  home: string = join(root, '.millrace', 'kafka'),
): Promise<KafkaInstall> {
  const text = readFileSync(pom, 'utf8')
  const version = /<kafka\.version>([^<]+)</.exec(text)?.[1] ?? 'unknown'
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8)
  const jars = join(home, `${version}-${hash}`)
  const ready = (): boolean => existsSync(jars) && findProgram('java') !== undefined
  if (!ready()) {
    mkdirSync(home, { recursive: true })
    await exclusively(join(home, 'install.lock'), options, async () => {
      if (ready()) return
      await ensurePrograms(!existsSync(jars), options)
      if (!existsSync(jars)) await resolveJars(jars, version, options)
    })
  }
  const names = readdirSync(jars).filter((name) => name.endsWith('.jar'))
  return {
    version,
    home,
    java: findProgram('java') ?? 'java',
    classPath: names.map((name) => join(jars, name)).join(delimiter),
  }
}

async function resolveJars(jars: string, version: string, options: InstallOptions): Promise<void> {
  options.say(`Fetching Apache Kafka ${version} with Maven (once, some 45 MB) …`)
  // Nobody else is at it, so whatever has such a name was left by a dead process.
  const partial = `${jars}-partial`
  rmSync(partial, { recursive: true, force: true })
  const flags = ['-B', '-f', pom, '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  // Maven keeps what it fetches in the account's own folder, and some accounts have none.
  if (!hasHome()) flags.push(`-Dmaven.repo.local=${join(dirname(jars), 'repository')}`)
  const { code, output } = await runProgram('mvn', [...flags, copyDependencies], options)
  options.signal?.throwIfAborted()
  if (code !== 0) {
    throw new KafkaToolProblem(
      `Maven could not fetch Apache Kafka ${version} (${code}). Check that Maven Central, or the mirror in ` +
        `~/.m2/settings.xml, can be reached, then run the same command again. Its last words:\n${output.slice(-2_000)}`,
    )
  }
  renameSync(partial, jars)
}

function hasHome(): boolean {
  try {
    accessSync(userInfo().homedir, constants.W_OK)
    return true
  } catch {
    // No such folder, no right to it, or no such account.
    return false
  }
}
