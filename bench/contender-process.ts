import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import pg from 'pg'

/**
 * Runs a contender in a process of its own and gives the last line it prints, which is JSON.
 * @param flags of Node, beside those of this process
 */
export async function runContender<T>(
  file: URL,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<T> {
  const child = spawn(process.execPath, [...process.execArgv, ...flags, file.pathname, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const line = output.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || line === '') throw new Error(`${file.pathname} ended with ${code}: ${output}`)
  return JSON.parse(line) as T
}

/** Runs one statement as the server's owner. */
export async function admin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

/** So few jobs or records write too little for {@link warmUp} to matter: such a run only tries whether the bench works. */
const FEW = 10_000

/** Makes 2 GB of write-ahead log, which is then used again: otherwise whoever comes first pays for making its files. */
export async function warmUp(url: string, count: number): Promise<void> {
  if (count < FEW) return
  await admin(
    url,
    'create table filler as select repeat(md5(n::text), 30) from generate_series(1, 1800000) n',
  )
  await admin(url, 'drop table filler')
  await admin(url, 'checkpoint')
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  if (sorted.length % 2 === 1) return sorted[middle] as number
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

/** The installed version of a package. */
export async function versionOf(name: string): Promise<string> {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url)
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version
}
