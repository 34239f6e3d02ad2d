import { execFile } from 'node:child_process'
import { chown, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import pg from 'pg'
import { embeddedPostgres, type EmbeddedPostgres } from '../../src/testing/embedded-postgres.ts'
import { cleanup } from './cleanup.ts'
import { eventually } from './wait.ts'

const run = promisify(execFile)

/** A TCP address on loopback behind which there is one server now and another one later, or none. */
interface Switch {
  readonly port: number
  /** Cuts all connections; from now on they are made to `port`, or refused when there is none. */
  to(port: number | undefined): void
}

/** A server with a standby that follows it by streaming, and one address for whichever of them is the primary. */
export interface ReplicatedPostgres {
  /** The address that clients use. */
  readonly url: string
  readonly primary: EmbeddedPostgres
  /** The standby itself, which may be read from. */
  readonly standbyUrl: string
  /** Cuts the stream: from now on the standby lags. */
  cutStream(): void
  /** Kills the primary with SIGKILL, makes the standby the primary, and leads clients there. */
  failOver(): Promise<void>
}

/**
 * Starts a pair by a base backup. With `synchronous`, a COMMIT is answered when the standby has it on its disk, and waits
 * for ever while there is no stream.
 */
export async function replicatedPostgres(
  t: TestContext,
  { synchronous = false }: { readonly synchronous?: boolean } = {},
): Promise<ReplicatedPostgres> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-standby-'))
  cleanup(t, () => rm(directory, { recursive: true, force: true }))
  const settings = { wal_keep_size: '1GB', max_wal_senders: 5 }
  const primary = await embeddedPostgres({ directory: join(directory, 'primary'), settings })
  ended(t, primary)
  const stream = await switchTo(t, primary.port)
  const clients = await switchTo(t, primary.port)

  // Beside the primary, which may be elsewhere than asked for.
  const place = `${primary.directory}-standby`
  await mkdir(place)
  await baseBackup(primary, join(place, 'data'))
  const { username, password } = new URL(primary.url())
  const from = `host=127.0.0.1 port=${stream.port} user=${username} password=${password} application_name=standby`
  const standby = await embeddedPostgres({
    directory: place,
    settings: { ...settings, primary_conninfo: from, wal_retrieve_retry_interval: '100ms' },
  })
  ended(t, standby)
  if (synchronous) {
    const admin = await connected(primary.url())
    await admin.query("alter system set synchronous_standby_names = 'standby'")
    await admin.query('select pg_reload_conf()')
    await admin.end()
  }
  const through = (url: string, port: number): string => {
    const changed = new URL(url)
    changed.port = String(port)
    return changed.href
  }
  // The standby is a copy, so its password is the primary's.
  const standbyUrl = through(primary.url(), standby.port)
  return {
    url: through(primary.url(), clients.port),
    primary,
    standbyUrl,
    cutStream: () => stream.to(undefined),
    async failOver() {
      clients.to(undefined)
      await primary.kill()
      const admin = await connected(standbyUrl)
      try {
        await admin.query('select pg_promote(true, 60)')
      } finally {
        await admin.end()
      }
      clients.to(standby.port)
    },
  }
}

/** The line of history that a standby begins when it is promoted. */
export const PROMOTED = '00000002'

/** The line of history that the server behind `pool` writes, as soon as there is one. */
export async function timeline(pool: pg.Pool): Promise<string | undefined> {
  const { rows } = await eventually(() =>
    pool.query<{ line: string }>('select left(pg_walfile_name(pg_current_wal_lsn()), 8) as line'),
  )
  return rows[0]?.line
}

/** Stops the server with the test, and removes its files, wherever they are. */
function ended(t: TestContext, server: EmbeddedPostgres): void {
  cleanup(t, async () => {
    await server.stop('immediate')
    await rm(server.directory, { recursive: true, force: true })
  })
}

async function connected(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return client
}

/** Copies the data of a running server as PostgreSQL's own tools do, into a standby's. */
async function baseBackup(server: EmbeddedPostgres, data: string): Promise<void> {
  const admin = await connected(server.url())
  try {
    await admin.query("select pg_backup_start('standby', true)")
    await run('cp', ['-a', join(server.directory, 'data'), data])
    const { rows } = await admin.query<{ labelfile: string }>(
      'select labelfile from pg_backup_stop(false)',
    )
    await rm(join(data, 'postmaster.pid'), { force: true })
    const { uid, gid } = await stat(data)
    for (const [name, text] of [
      ['backup_label', rows[0]?.labelfile ?? ''],
      ['standby.signal', ''],
    ] as const) {
      await writeFile(join(data, name), text)
      await chown(join(data, name), uid, gid)
    }
  } finally {
    await admin.end()
  }
}

async function switchTo(t: TestContext, first: number): Promise<Switch> {
  let target: number | undefined = first
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    if (target === undefined) {
      client.destroy()
      return
    }
    const upstream = createConnection(target, '127.0.0.1')
    const both = [client, upstream]
    for (const socket of both) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => both.forEach((one) => one.destroy()))
      socket.on('close', () => {
        sockets.delete(socket)
        both.forEach((one) => one.destroy())
      })
    }
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  cleanup(t, async () => {
    cut()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    port: (server.address() as AddressInfo).port,
    to(port) {
      target = port
      cut()
    },
  }
}
