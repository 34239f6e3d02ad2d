import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { ensureKafka } from '../../tools/kafka/install.ts'
import { cleanup, type TestScope } from './cleanup.ts'

const program = new URL('./java/KafkaPeer.java', import.meta.url).pathname

/** A record for {@link javaProduce}; texts are written as UTF-8. */
export interface PeerRecord {
  readonly topic: string
  readonly key: string | null
  readonly value: string | null
  readonly headers?: readonly (readonly [name: string, value: string | null])[]
}

/** A record as Apache's Java client has read it. */
export interface SeenRecord {
  readonly partition: number
  readonly offset: number
  /** In milliseconds since 1970. */
  readonly timestamp: number
  readonly key: string | null
  readonly value: string | null
  readonly headers?: readonly (readonly [name: string, value: string | null])[]
  /** What the CloudEvents SDK makes of it. */
  readonly cloudEvent?: Readonly<Record<string, string | number>>
  /** Why it makes nothing of it. */
  readonly problem?: string
}

/**
 * Writes records with Apache's Java client and says where each has been put. One after the other; with a compression in
 * large batches.
 */
export async function javaProduce(
  t: TestScope,
  brokers: readonly string[],
  records: readonly PeerRecord[],
  compression?: string,
): Promise<{ readonly partition: number; readonly offset: number }[]> {
  const lines = records.map((record) => `${JSON.stringify(record)}\n`).join('')
  const codec = compression === undefined ? [] : [compression]
  return run(t, ['produce', brokers.join(), ...codec], lines)
}

/** The first `count` records of a topic, read with Apache's Java client. */
export async function javaConsume(
  t: TestScope,
  brokers: readonly string[],
  topic: string,
  count: number,
): Promise<SeenRecord[]> {
  return run(t, ['consume', brokers.join(), topic, String(count)], '')
}

/**
 * Everything that is committed in a topic, up to where it reaches now, read with Apache's Java client; open transactions are
 * waited for.
 */
export async function javaReadCommitted(
  brokers: readonly string[],
  topic: string,
): Promise<SeenRecord[]> {
  return run(undefined, ['committed', brokers.join(), topic], '')
}

/** How long Java may take for anything, in milliseconds. */
const LONGEST_MS = 120_000

async function run<T>(
  t: TestScope | undefined,
  args: readonly string[],
  input: string,
): Promise<T[]> {
  const { java, classPath } = await ensureKafka({ say: (line) => console.error(line) })
  // Java runs a source file as it is; the warnings are those of a logger without settings.
  const flags = [
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    // Whatever the locale: 17 goes by the first for its output, later ones by the second.
    '-Dfile.encoding=UTF-8',
    '-Dstdout.encoding=UTF-8',
    '-cp',
    classPath,
    program,
  ]
  const child = spawn(java, [...flags, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: LONGEST_MS,
    killSignal: 'SIGKILL',
  })
  if (t !== undefined) cleanup(t, async () => void child.kill('SIGKILL'))
  const closed = once(child, 'close')
  child.stdin.end(input)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    closed,
  ])
  assert.equal(code, 0, `the Java client failed:\n${stderr}`)
  return stdout
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)
}
