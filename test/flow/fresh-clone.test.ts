import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, lchownSync, readdirSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Figures } from '../../apps/shop/src/figures.ts'
import { cleanup } from '../support/cleanup.ts'

const root = join(import.meta.dirname, '..', '..')
const isRoot = process.getuid?.() === 0
/** Of Debian and most others: an account with no rights of its own. */
const NOBODY = 65_534
/** What a clone does not have. */
const MADE = new Set(['node_modules', '.millrace', '.git', 'dist'])

/** An account with a fresh clone. */
interface Newcomer {
  /** Runs a command in the clone, as this account, with the Node that the machine has; fails when it fails. */
  run(command: string, ...args: string[]): Promise<{ stdout: string; stderr: string }>
}

async function newcomer(
  t: TestContext,
  { uid, mode }: { readonly uid: number; readonly mode: number },
): Promise<Newcomer> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-newcomer-'))
  cleanup(t, () => rm(folder, { recursive: true, force: true }))
  const clone = join(folder, 'clone')
  const home = join(folder, 'home')
  await cp(root, clone, { recursive: true, filter: (path) => !MADE.has(basename(path)) })
  await mkdir(home)
  // What this account would download again, so that a registry is not asked for 200 MB by each run.
  const cache = join(execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim())
  const content = join(cache, '_cacache')
  if (existsSync(content)) await cp(content, join(home, '.npm', '_cacache'), { recursive: true })
  chmodSync(folder, mode)
  if (isRoot) for (const path of [folder, ...below(folder)]) lchownSync(path, uid, uid)
  const env = environment(home)
  return {
    run: (command, ...args) =>
      new Promise((resolve, reject) => {
        const child = spawn(command, args, {
          cwd: clone,
          env,
          stdio: ['ignore', 'pipe', 'pipe'],
          detached: true,
          ...(isRoot ? { uid, gid: uid } : {}),
        })
        cleanup(t, async () => {
          try {
            process.kill(-(child.pid as number), 'SIGKILL')
          } catch {
            // All of them have ended.
          }
        })
        const output = { stdout: '', stderr: '' }
        for (const name of ['stdout', 'stderr'] as const) {
          child[name].on('data', (chunk: Buffer) => {
            output[name] += chunk.toString()
          })
        }
        child.once('error', reject)
        child.once('close', (code, signal) => {
          if (code === 0) resolve(output)
          else reject(new Error(`${command} ended with ${code ?? signal}:\n${output.stderr}`))
        })
      }),
  }
}

function below(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) =>
    join(folder, path),
  )
}

/** Nothing of the installation that runs these tests, nor of the test runner. */
function environment(home: string): NodeJS.ProcessEnv {
  const ours =
    /^(npm_(?!config_)|npm_config_(cache|prefix|local_prefix)$|NODE_(?!EXTRA_CA_CERTS)|MILLRACE_|INIT_CWD)/i
  const kept = Object.entries(process.env).filter(([name]) => !ours.test(name))
  const path = (process.env['PATH'] ?? '').split(delimiter)
  return {
    ...Object.fromEntries(kept),
    HOME: home,
    PATH: path.filter((folder) => !folder.includes('node_modules')).join(delimiter),
  }
}

function figures(stdout: string): Figures[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Figures)
}

/** The first thing in a clone; gives what was said, and the last figures. */
async function firstStart({ run }: Newcomer): Promise<{ said: string; last: Figures }> {
  const first = await run('npm', 'start', '--', '--for', '6s')
  assert.match(first.stderr, /Installing packages \(first run\)/)
  const atFirst = figures(first.stdout).at(-1)
  assert.ok(atFirst !== undefined, first.stdout)
  assert.ok(atFirst.jobsCompleted > 0, first.stdout)
  assert.equal(atFirst.backlog, 0)
  return { said: first.stderr, last: atFirst }
}

test('a fresh clone starts the shop and runs its tests, as an ordinary user', async (t) => {
  const uid = isRoot ? NOBODY : Number(process.getuid?.())
  const { run } = await newcomer(t, { uid, mode: 0o755 })
  const { said, last } = await firstStart({ run })
  assert.match(said, /embedded PostgreSQL 18 .* files in \.millrace/)

  // It goes on where it stopped, and installs nothing again.
  const again = await run('npm', 'start', '--', '--for', '1s')
  assert.doesNotMatch(again.stderr, /Installing/)
  const [next] = figures(again.stdout)
  assert.ok((next?.events ?? 0) >= last.events, again.stdout)

  // Of the other command a small part, for this is one of its tests.
  const tests = await run('npm', 'test', '--', 'integration/counts')
  assert.match(tests.stdout, /^ℹ pass [1-9]\d*\nℹ fail 0$/m)
})

test('a fresh clone where nobody else can enter starts it too, and says where its files live', async (t) => {
  const uid = Number(process.getuid?.())
  const { said } = await firstStart(await newcomer(t, { uid, mode: 0o700 }))
  if (!isRoot) return
  const [, elsewhere = ''] = /its files live in (\/var\/tmp\/millrace-\w+)/.exec(said) ?? []
  assert.notEqual(elsewhere, '', said)
  assert.ok(existsSync(elsewhere))
  await rm(elsewhere, { recursive: true })
})
