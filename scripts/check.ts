// The gates before a commit, one line each: `npm run check`. `npm run format` (--write) formats.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { root, sourceFiles } from './source-files.ts'
import * as gates from './source-gates.ts'

interface Gate {
  readonly name: string
  /** Text to show when the gate is not passed, undefined when it is. */
  readonly run: () => Promise<string | undefined>
}

const tools = {
  biome: '@biomejs/biome/bin/biome',
  oxlint: 'oxlint/bin/oxlint',
  tsc: 'typescript/bin/tsc',
  depcruise: 'dependency-cruiser/bin/dependency-cruiser.mjs',
} as const

function tool(name: keyof typeof tools, args: readonly string[]): Gate['run'] {
  return async () => {
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    const child = spawn(process.execPath, [join(root, 'node_modules', tools[name]), ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    const collect = (chunk: Buffer): void => {
      output += chunk.toString()
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.once('error', (error) => resolve(`${name} did not start: ${error.message}`))
    child.once('close', (code, signal) => {
      resolve(code === 0 ? undefined : output || `${name} ended with ${code ?? String(signal)}`)
    })
    return promise
  }
}

/** Biome shows every line it would change; the names of the files are enough. */
function unformatted(output: string): string {
  const files = [...output.matchAll(/^(\S+\.\w+) format ━/gm)].map((match) => match[1])
  return files.length === 0 ? output : [...files, 'run `npm run format`'].join('\n')
}

function source(gate: gates.SourceGate): Gate['run'] {
  return async () => {
    const findings = gate(sourceFiles())
    return Promise.resolve(findings.length === 0 ? undefined : findings.join('\n'))
  }
}

const cruised = ['src', 'test', 'apps', 'bench', 'examples', 'scripts', 'tools'].filter(
  (directory) => existsSync(join(root, directory)),
)

const all: readonly Gate[] = [
  {
    name: 'format',
    run: async () => {
      const output = await tool('biome', ['format', '--colors=off', '--max-diagnostics=200'])()
      return output === undefined ? undefined : unformatted(output)
    },
  },
  { name: 'lint', run: tool('oxlint', ['--deny-warnings', '--format=unix']) },
  { name: 'types', run: tool('tsc', ['-p', 'tsconfig.json', '--pretty', 'false']) },
  { name: 'types of src', run: tool('tsc', ['-p', 'tsconfig.src.json', '--pretty', 'false']) },
  {
    name: 'import law',
    run: tool('depcruise', ['-c', '.dependency-cruiser.cjs', '-T', 'err', ...cruised]),
  },
  { name: 'file sizes', run: source(gates.fileSizes) },
  { name: 'forbidden calls', run: source(gates.forbiddenCalls) },
  { name: 'test titles', run: source(gates.testTitles) },
  { name: 'rooms drawn', run: source(gates.roomsDrawn) },
  { name: 'machine traces', run: source(gates.noMachineTraces) },
]

async function runGate({ name, run }: Gate): Promise<boolean> {
  const started = performance.now()
  const problem = await run().catch((error: unknown) => String(error))
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const line = `${problem === undefined ? 'ok  ' : 'FAIL'}  ${name.padEnd(16)} ${seconds} s`
  console.log(
    problem === undefined ? line : `${line}\n${problem.trimEnd().replace(/^/gm, '      ')}`,
  )
  return problem === undefined
}

async function check(): Promise<boolean> {
  const waiting = [...all]
  const passed: boolean[] = []
  const drain = async (): Promise<void> => {
    for (let gate = waiting.shift(); gate !== undefined; gate = waiting.shift()) {
      passed.push(await runGate(gate))
    }
  }
  await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, drain))
  return passed.every(Boolean)
}

if (process.argv.includes('--write')) {
  const problem = await tool('biome', ['format', '--write', '--colors=off'])()
  if (problem !== undefined) console.error(problem)
  process.exitCode = problem === undefined ? 0 : 1
} else {
  process.exitCode = (await check()) ? 0 : 1
}
