import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { InstallOptions } from './install-options.ts'
import type { KafkaInstall } from './install.ts'
import { exclusively } from './lock.ts'
import type { KafkaOptions } from './options.ts'

type Start = (install: KafkaInstall, options: KafkaOptions) => Promise<{ stop(): Promise<void> }>

/**
 * Sees to it that Java finds Kafka's classes ready to use: with such an archive a broker starts in 1.6 s instead of 2.4,
 * and formatting takes 0.7 s instead of 1.2. It is written by the first broker's orderly end.
 */
export async function ensureArchive(
  install: KafkaInstall,
  options: InstallOptions,
  start: Start,
): Promise<void> {
  const file = archiveOf(install)
  if (existsSync(file)) return
  await exclusively(join(install.home, 'install.lock'), options, async () => {
    if (existsSync(file)) return
    options.say('Preparing Kafka for quick starts (once) …')
    const directory = mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
    const partial = `${file}-partial`
    const { signal } = options
    try {
      const broker = await start(install, {
        directory,
        jvm: ['-XX:+UseSerialGC', '-Xlog:disable', `-XX:ArchiveClassesAtExit=${partial}`],
        ...(signal && { signal }),
      })
      await broker.stop()
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
    // Another Java may not know how; an empty file says that it need not be asked again.
    if (existsSync(partial)) renameSync(partial, file)
    else writeFileSync(file, '')
  })
}

/** Java's flags for the archive, none when there is none. */
export function archiveFlags(install: KafkaInstall): string[] {
  const file = archiveOf(install)
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  // Whatever Java finds wrong with it, it can do without, and need not say so.
  return size === 0 ? [] : [`-XX:SharedArchiveFile=${file}`, '-Xlog:cds=off', '-Xshare:auto']
}

/** It fits one Java and one place of the jars only. */
function archiveOf({ home, java, classPath }: KafkaInstall): string {
  const { mtimeMs, size } = statSync(java, { throwIfNoEntry: false }) ?? { mtimeMs: 0, size: 0 }
  const hash = createHash('sha256').update(`${java} ${mtimeMs} ${size} ${classPath}`)
  return join(home, `classes-${hash.digest('hex').slice(0, 8)}.jsa`)
}
