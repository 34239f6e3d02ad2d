import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where the shop keeps its files. */
export interface Home {
  readonly directory: string
  /** Of the embedded PostgreSQL. */
  readonly postgres: string
  readonly mailbox: string
  /** How the command line finds the shop's database, while it runs. */
  readonly connection: string
  readonly log: string
}

const CHECKOUT = fileURLToPath(new URL('../../../', import.meta.url))

/** `.millrace/` of the checkout, or where MILLRACE_HOME points. */
export function findHome(environment: NodeJS.ProcessEnv): Home {
  const directory = resolve(environment['MILLRACE_HOME'] || join(CHECKOUT, '.millrace'))
  mkdirSync(directory, { recursive: true })
  return {
    directory,
    postgres: join(directory, 'postgres'),
    mailbox: join(directory, 'mailbox'),
    connection: join(directory, 'connection.json'),
    log: join(directory, 'shop.log'),
  }
}

/** `path` as people would type it from where they are. */
export function shortPath(path: string): string {
  const short = relative(process.cwd(), path)
  return short === '' ? '.' : short.startsWith('..') ? path : short
}

/** Writes how to connect, for this user alone; gives back how to take that away again. */
export function writeConnection(
  { connection }: Home,
  databaseUrl: string,
  brokers?: string,
): () => void {
  const draft = `${connection}.${process.pid}`
  const text = `${JSON.stringify({ databaseUrl, brokers, pid: process.pid }, undefined, 2)}\n`
  rmSync(draft, { force: true })
  writeFileSync(draft, text, { mode: 0o600, flag: 'wx' })
  renameSync(draft, connection)
  return () => {
    try {
      // Another shop may have written its own meanwhile.
      if (readFileSync(connection, 'utf8') === text) rmSync(connection)
    } catch {
      // Gone already.
    }
  }
}
