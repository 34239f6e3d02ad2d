#!/usr/bin/env node
// `millrace` on the command line. Runs in this very process on Node 24 or newer; on an older one, hands over to the
// Node 24 that npm has installed beside millrace. Installs nothing: this is also what a production container starts.
// Plain JavaScript without dependencies, so that an old Node can read it.
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import * as module from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const neededMajor = 24
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
// A published package has its JavaScript: Node does not strip types below node_modules.
const built = join(root, 'dist', 'cli', 'main.js')
const main = existsSync(built) ? built : join(root, 'src', 'cli', 'main.ts')

// Node keeps what it has made of our sources, and does without where it cannot write.
const cache = join(root, '.millrace', 'compile-cache')

if (Number(process.versions.node.split('.')[0]) >= neededMajor) {
  if (main !== built) module.enableCompileCache(cache)
  await import(pathToFileURL(main).href)
} else {
  const node = findNode()
  if (node === undefined) {
    process.stderr.write(
      `error millrace needs Node ${neededMajor} or newer, and this is ${process.versions.node}\n` +
        '  code E_NODE_VERSION\n' +
        `  next install Node ${neededMajor} and put it first on the PATH, or: npm install --save-dev node@${neededMajor}\n`,
    )
    process.exitCode = 1
  } else {
    await handOver(node)
  }
}

/** A Node of the needed version from npm's packages: beside millrace, in a folder above, or where the user stands. */
function findNode() {
  const { platform, arch } = process
  const file = platform === 'win32' ? 'node.exe' : 'node'
  const system = platform === 'win32' ? 'win' : platform
  const names = [`node-${system}-${arch}`, `node-bin-${platform}-${arch}`]
  for (const start of [root, process.cwd()]) {
    for (let folder = start; ; folder = dirname(folder)) {
      for (const name of names) {
        const node = join(folder, 'node_modules', name, 'bin', file)
        if (existsSync(node)) return node
      }
      if (dirname(folder) === folder) break
    }
  }
  return undefined
}

function handOver(node) {
  return new Promise((settle) => {
    const env = main === built ? process.env : { NODE_COMPILE_CACHE: cache, ...process.env }
    const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit', env })
    process.on('SIGTERM', (signal) => child.kill(signal))
    // A terminal gives Ctrl-C to the whole process group, so the child has it already, and a second one would mean "now".
    process.on('SIGINT', (signal) => {
      if (!hasTerminal()) child.kill(signal)
    })
    child.once('error', (error) => {
      process.stderr.write(`error cannot start ${node}: ${error.message}\n`)
      process.exitCode = 1
      settle()
    })
    child.once('exit', (code, signal) => {
      process.exitCode = signal === null ? code : 128 + (constants.signals[signal] ?? 0)
      settle()
    })
  })
}

function hasTerminal() {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    // No terminal controls this process.
    return false
  }
}
