import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import pg from 'pg'
import {
  embeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../../src/testing/embedded-postgres.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'

const isRoot = process.geteuid?.() === 0
const scenario = new URL('./server-scenario.ts', import.meta.url)

const cleanups = new WeakMap<TestContext, (() => Promise<unknown>)[]>()

/** Done at the end of the test, last come, first done: a server ends before its folder is removed. */
function defer(t: TestContext, action: () => Promise<unknown>): void {
  const actions = cleanups.get(t) ?? []
  if (actions.length === 0) {
    cleanups.set(t, actions)
    t.after(async () => {
      for (const one of actions.toReversed()) await one()
    })
  }
  actions.push(action)
}

/** A server that ends with the test, on a folder that goes with it. */
async function setup(
  t: TestContext,
  options: EmbeddedPostgresOptions = {},
): Promise<{ server: EmbeddedPostgres; notices: string[] }> {
  const notices: string[] = []
  const server = await embeddedPostgres({ onNotice: (text) => notices.push(text), ...options })
  defer(t, () => server.stop('immediate'))
  return { server, notices }
}

/** A folder that the server's account may enter, gone after the test. */
async function folder(t: TestContext, mode = 0o755): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  await chmod(path, mode)
  defer(t, () => rm(path, { recursive: true, force: true }))
  return path
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  // A server that dies tells its sessions; the query that needs one fails by itself.
  client.on('error', () => undefined)
  await client.connect()
  try {
    const result = await client.query<Record<string, unknown>>(sql)
    return result.rows
  } finally {
    await client.end()
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

test('answers on 127.0.0.1 with UTF-8, the C locale and the given settings', async (t) => {
  const { server } = await setup(t, { settings: { max_connections: 17 } })

  const [row] = await query(
    server.url(),
    `select current_setting('server_version_num')::int / 10000 as major,
       current_setting('server_encoding') as encoding, current_setting('max_connections') as connections,
       current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets,
       (select datcollate from pg_database where datname = 'postgres') as collation`,
  )

  assert.deepEqual(row, {
    major: 18,
    encoding: 'UTF8',
    connections: '17',
    addresses: '127.0.0.1',
    sockets: '',
    collation: 'C',
  })
})

test('lets nobody in without its password', async (t) => {
  const { server } = await setup(t)
  const url = new URL(server.url())
  url.password = 'guessed'

  await assert.rejects(query(url.href, 'select 1'), { code: '28P01' })
})

test('removes its folder when it is stopped, and stops twice without harm', async (t) => {
  const { server } = await setup(t)

  await Promise.all([server.stop(), server.stop()])
  await server.stop()

  assert.equal(server.pid, undefined)
  assert.equal(await exists(server.directory), false)
})

test('keeps committed rows and its port over a SIGKILL of the postmaster', async (t) => {
  const { server, notices } = await setup(t)
  await query(server.url(), 'create table kept as select 42 as answer')
  const before = { pid: server.pid, url: server.url() }

  await server.kill()
  assert.equal(server.pid, undefined)
  await server.restart()

  assert.equal(server.url(), before.url)
  assert.notEqual(server.pid, before.pid)
  assert.deepEqual(await query(server.url(), 'select answer from kept'), [{ answer: 42 }])
  assert.deepEqual(notices, [])
})

test('tells when the server ends by itself, and starts again', async (t) => {
  const { server, notices } = await setup(t)

  process.kill(server.pid ?? 0, 'SIGKILL')
  await eventually(() => notices.length > 0)
  await server.restart()

  assert.match(notices.join(), /ended by itself \(SIGKILL\)/)
  assert.deepEqual(await query(server.url(), 'select 1 as one'), [{ one: 1 }])
})

test('finds its data and its password again in a folder that it was given', async (t) => {
  const directory = join(await folder(t), 'server')
  const first = await setup(t, { directory })
  await query(first.server.url(), 'create table kept as select 42 as answer')
  await first.server.stop()

  const second = await setup(t, { directory, port: first.server.port })

  assert.equal(second.server.url(), first.server.url())
  assert.deepEqual(await query(second.server.url(), 'select answer from kept'), [{ answer: 42 }])
})

test('refuses a folder that a living server uses, and leaves that server alone', async (t) => {
  const directory = join(await folder(t), 'server')
  const { server } = await setup(t, { directory })

  await assert.rejects(embeddedPostgres({ directory, persistent: false }), {
    code: 'E_DB_CONNECT',
    message: /is in use by process \d+\. Stop that one first/,
  })

  assert.deepEqual(await query(server.url(), 'select 1 as one'), [{ one: 1 }])
})

test('does not touch a folder of somebody else that is named data', async (t) => {
  const directory = await folder(t)
  await mkdir(join(directory, 'data', 'precious'), { recursive: true })

  await assert.rejects(embeddedPostgres({ directory, persistent: false }), {
    code: 'E_DB_CONNECT',
    message: /is not a data folder of PostgreSQL/,
  })

  assert.deepEqual(await readdir(join(directory, 'data')), ['precious'])
})

test('stops, and removes its folder, when its parent is killed with SIGKILL', async (t) => {
  const parent = spawnNode(t, scenario)
  const { pid, directory, url } = await parent.waitFor('started', { timeoutMs: 60_000 })
  await query(String(url), 'select 1')

  parent.kill('SIGKILL')
  await parent.exited

  await eventually(async () => !(await exists(String(directory))), { timeoutMs: 60_000 })
  await assert.rejects(query(String(url), 'select 1'), { code: 'ECONNREFUSED' })
  assert.equal(typeof pid, 'number')
})

test('goes on with the data of a parent that was killed with SIGKILL', async (t) => {
  const directory = join(await folder(t), 'server')
  const parent = spawnNode(t, scenario, { args: [directory] })
  const { url } = await parent.waitFor('started', { timeoutMs: 60_000 })
  await query(String(url), 'create table kept as select 42 as answer')

  parent.kill('SIGKILL')
  await parent.exited
  const { server } = await setup(t, { directory })

  assert.deepEqual(await query(server.url(), 'select answer from kept'), [{ answer: 42 }])
})

test('starts on what a power cut has left: a file that names a process which is another by now', async (t) => {
  const directory = join(await folder(t), 'server')
  const { server } = await setup(t, { directory })
  await server.stop()
  await writeFile(join(directory, 'data', 'postmaster.pid'), `${process.ppid}\n${directory}/data\n`)
  await writeFile(join(directory, 'owner'), `${process.ppid} 1\n`)

  await server.restart()

  assert.deepEqual(await query(server.url(), 'select 1 as one'), [{ one: 1 }])
})

test('runs from a folder that only its user can enter', async (t) => {
  const closed = await folder(t, 0o700)
  const directory = join(closed, 'server')

  const notices: string[] = []
  const onNotice = (text: string): void => void notices.push(text)
  const server = await embeddedPostgres({ directory, onNotice })
  defer(t, () => rm(server.directory, { recursive: true, force: true }))
  defer(t, () => server.stop('immediate'))

  assert.deepEqual(await query(server.url(), 'select 1 as one'), [{ one: 1 }])
  if (isRoot) {
    assert.match(server.directory, /^\/var\/tmp\/millrace-[0-9a-f]{16}$/)
    assert.match(notices.join(), /PostgreSQL cannot run as root.*its files live in \/var\/tmp/)
    const { uid } = await stat(join(server.directory, 'data'))
    assert.notEqual(uid, 0)
  } else {
    assert.equal(server.directory, directory)
    assert.deepEqual(notices, [])
  }
  const { mode } = await stat(join(server.directory, 'data'))
  assert.equal(mode & 0o077, 0)
})

test('does not trust a folder that others may write in, under the name it would take in /var/tmp', async (t) => {
  const closed = await folder(t, 0o700)
  const directory = join(closed, 'server')
  const first = await setup(t, { directory })
  await first.server.stop()
  defer(t, () => rm(first.server.directory, { recursive: true, force: true }))
  await chmod(first.server.directory, 0o777)

  const again = embeddedPostgres({ directory })

  if (isRoot) {
    await assert.rejects(again, { code: 'E_DB_CONNECT', message: /so it is not trusted/ })
  } else {
    const server = await again
    await server.stop()
  }
})

test('says that the port is in use', async (t) => {
  const holder = createServer()
  await new Promise<void>((resolve) => {
    holder.listen(0, '127.0.0.1', resolve)
  })
  t.after(() => holder.close())
  const address = holder.address()
  const port = typeof address === 'object' ? address?.port : undefined
  assert.ok(port !== undefined)

  await assert.rejects(embeddedPostgres({ port }), {
    code: 'E_DB_CONNECT',
    message: /did not start on 127\.0\.0\.1:\d+.*The port is in use/,
  })
})

test('names every wrong option at once', async () => {
  await assert.rejects(
    embeddedPostgres({ port: 0, settings: { 'shared buffers': 1, work_mem: '1MB\nport=1' } }),
    { code: 'E_CONFIG_INVALID', message: /port[\s\S]*settings[\s\S]*settings\.work_mem/ },
  )
})

test('says that a setting does not exist', async () => {
  await assert.rejects(embeddedPostgres({ settings: { no_such_setting: 1 } }), {
    code: 'E_DB_CONNECT',
    message: /unrecognized configuration parameter/,
  })
})

test('ends with a process that ends in good order without stopping it', async (t) => {
  const parent = spawnNode(t, scenario)
  const { pid, directory } = await parent.waitFor('started', { timeoutMs: 60_000 })
  assert.ok(isAlive(Number(pid)))

  parent.kill('SIGTERM')

  await eventually(async () => !(await exists(String(directory))), { timeoutMs: 60_000 })
})
