import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Admin } from '@platformatic/kafka'
import { isAlive, ownerOf } from '../../../tools/kafka/lock.ts'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import type { Exit } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'

const launcher = new URL('../../../scripts/run.mjs', import.meta.url).pathname
const main = new URL('../../../tools/kafka/main.ts', import.meta.url).pathname

interface Command {
  readonly stdout: string
  readonly stderr: string
  readonly exited: Promise<Exit>
  /** Waits until it has printed where it listens. */
  listens(): Promise<string>
  kill(signal: NodeJS.Signals): void
}

async function folder(t: TestScope): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  cleanup(t, () => rm(path, { recursive: true, force: true }))
  return path
}

/** `npm run kafka -- …`, without npm. */
function run(t: TestScope, home: string, ...args: readonly string[]): Command {
  const child = spawn(process.execPath, [launcher, main, ...args], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, MILLRACE_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let stdout = ''
  let stderr = ''
  let ended = false
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const { promise: exited, resolve } = Promise.withResolvers<Exit>()
  child.once('close', (code, signal) => {
    ended = true
    resolve({ code, signal })
  })
  const kill = (signal: NodeJS.Signals): void => {
    // The launcher and the command, as the terminal does it.
    if (!ended) process.kill(-child.pid!, signal)
  }
  cleanup(t, async () => {
    kill('SIGTERM')
    await exited
  })
  return {
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr
    },
    exited,
    listens: async () => {
      await eventually(() => ended || stdout.endsWith('\n'), { timeoutMs: 180_000 })
      assert.match(stdout, /^127\.0\.0\.1:\d+\n$/, stderr)
      return stdout.trim()
    },
    kill,
  }
}

async function heldPort(t: TestScope): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  cleanup(t, async () => void server.close())
  return (server.address() as AddressInfo).port
}

async function freePort(): Promise<number> {
  const held: (() => Promise<void>)[] = []
  const port = await heldPort({ after: (action) => void held.push(action) })
  for (const release of held) await release()
  return port
}

async function withAdmin<T>(address: string, action: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: [address], retries: 0 })
  try {
    return await action(admin)
  } finally {
    await admin.close()
  }
}

test('serves until it is told to stop, and keeps what it has for the next start', async (t) => {
  const home = await folder(t)
  const port = await freePort()
  const first = run(t, home, '--port', String(port))
  const address = await first.listens()
  assert.equal(address, `127.0.0.1:${port}`)
  assert.match(first.stderr, new RegExp(`npm start -- --kafka ${address}`))
  assert.match(first.stderr, /Ctrl-C/)
  await withAdmin(address, (admin) => admin.createTopics({ topics: ['kept'], partitions: 1 }))

  const second = run(t, home, '--port', String(port + 1))
  assert.equal((await second.exited).code, 1)
  assert.equal(second.stdout, '')
  assert.match(second.stderr, new RegExp(`runs at ${address} already`))

  first.kill('SIGINT')
  assert.deepEqual(await first.exited, { code: 0, signal: null })

  const third = run(t, home, '--port', String(port))
  assert.deepEqual(await withAdmin(await third.listens(), (admin) => admin.listTopics()), ['kept'])
  // Its broker is still ending when the next one starts.
  third.kill('SIGKILL')
  await third.exited
  const fourth = run(t, home, '--port', String(port), '--reset')
  assert.deepEqual(await withAdmin(await fourth.listens(), (admin) => admin.listTopics()), [])
})

test('leaves no broker behind when it is asked to stop again and again', async (t) => {
  const home = await folder(t)
  const command = run(t, home, '--port', String(await freePort()))
  await command.listens()
  const broker = ownerOf(join(home, 'kafka', 'data', 'broker'))
  assert.ok(broker?.alive)
  let ended = false
  void command.exited.then(() => {
    ended = true
  })
  await eventually(() => {
    command.kill('SIGINT')
    return ended
  })
  await eventually(() => !isAlive(broker.pid))
})

test('says that its port is taken, and what to do', async (t) => {
  const port = await heldPort(t)
  const command = run(t, await folder(t), '--port', String(port))
  assert.equal((await command.exited).code, 1)
  assert.match(command.stderr, new RegExp(`Port ${port} is taken.*--port`))
})

test('explains itself, and names all that is wrong with its options', async (t) => {
  const home = await folder(t)
  const help = run(t, home, '--help')
  assert.equal((await help.exited).code, 0)
  assert.match(help.stdout, /npm run kafka/)
  const wrong = run(t, home, '--port', '0', '--reset=yes', '--fast', 'now')
  assert.equal((await wrong.exited).code, 2)
  for (const problem of [
    "--port: expected a whole number from 1 to 65535, got '0'",
    "--reset takes no value, got 'yes'",
    'unknown option --fast',
    "unexpected 'now'",
  ]) {
    assert.ok(wrong.stderr.includes(problem), wrong.stderr)
  }
})
