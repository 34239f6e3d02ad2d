import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import {
  fileSizes,
  forbiddenCalls,
  noMachineTraces,
  roomsDrawn,
  testTitles,
} from '../scripts/source-gates.ts'

const root = resolve(import.meta.dirname, '..')
const cruiser = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs')

/** A small house that keeps the law; `planted` adds files to it. Gives back what is found: rule and file. */
async function findings(planted: Readonly<Record<string, string>>): Promise<string[]> {
  const house = await mkdtemp(join(tmpdir(), 'millrace-law-'))
  try {
    await build(house, planted)
    return await cruise(house)
  } finally {
    await rm(house, { recursive: true, force: true })
  }
}

async function build(house: string, planted: Readonly<Record<string, string>>): Promise<void> {
  await cp(join(root, '.dependency-cruiser.cjs'), join(house, '.dependency-cruiser.cjs'))
  const manifest = { name: 'millrace', type: 'module', exports: { '.': './src/index.ts' } }
  const files: Record<string, string> = {
    'package.json': JSON.stringify(manifest),
    'src/index.ts': `export { run } from './app/run.ts'`,
    'src/core/clock.ts': `import { performance } from 'node:perf_hooks'\nexport const now = performance.now`,
    'src/errors/error.ts': `export class E {}`,
    'src/postgres/pool.ts': `import pg from 'pg'\nimport { E } from '../errors/error.ts'\nexport { pg, E }`,
    'src/postgres/index.ts': `export { pg } from './pool.ts'`,
    'src/counts/counts.ts': `export const count = 1`,
    'src/events/event.ts': `import { now } from '../core/clock.ts'\nexport const event = now`,
    'src/log/port.ts': `import { event } from '../events/event.ts'\nexport const port = event`,
    'src/log/queries.ts': `export const lag = 1`,
    'src/dead-letter/write.ts': `import '../log/port.ts'`,
    'src/consumer/loop.ts': `import '../dead-letter/write.ts'\nexport const loop = 1`,
    'src/jobs/row.ts': `import { count } from '../counts/counts.ts'\nexport const row = count`,
    'src/worker/claim.ts': `import { row } from '../jobs/row.ts'\nexport const claim = row`,
    'src/bridge/park.ts': `import '../worker/claim.ts'\nimport '../consumer/loop.ts'\nexport const park = 1`,
    'src/app/run.ts': `import '../bridge/park.ts'\nexport const run = 1`,
    'src/testing/index.ts': `import '../app/run.ts'\nimport '../postgres/pool.ts'`,
    'src/cli/main.ts': `import { run } from '../app/run.ts'\nimport { lag } from '../log/queries.ts'\nexport { run, lag }`,
    'apps/shop/src/main.ts': `import { run } from 'millrace'\nexport async function main() { await using a = run }`,
    'test/helper.ts': `export const helper = 1`,
    ...planted,
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(house, path)), { recursive: true })
    await writeFile(join(house, path), `${text}\n`)
  }
  await mkdir(join(house, 'node_modules'))
  await symlink(house, join(house, 'node_modules', 'millrace'))
  await mkdir(join(house, 'node_modules', '@swc'))
  for (const name of ['pg', '@swc/core']) {
    await symlink(join(root, 'node_modules', name), join(house, 'node_modules', name))
  }
}

async function cruise(house: string): Promise<string[]> {
  const args = [cruiser, '-c', '.dependency-cruiser.cjs', '-T', 'json', 'src', 'apps', 'test']
  const child = spawn(process.execPath, args, { cwd: house })
  let output = ''
  let complaint = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString()
  })
  await new Promise((settle) => child.once('close', settle))
  try {
    const { summary } = JSON.parse(output) as {
      summary: {
        violations: { from: string; cycle?: { name: string }[]; rule: { name: string } }[]
      }
    }
    return summary.violations.flatMap(({ from, cycle = [], rule }) =>
      [from, ...cycle.map(({ name }) => name)].map((file) => `${rule.name} ${file}`),
    )
  } catch (cause) {
    throw new Error(`the cruiser did not give its findings: ${complaint}`, { cause })
  }
}

test('finds nothing in a house that keeps the law', async () => {
  assert.deepEqual(await findings({}), [])
})

const violations: readonly (readonly [title: string, path: string, text: string, rule: string])[] =
  [
    [
      'a room imports a higher one of its side',
      'src/events/planted-1.ts',
      `import '../log/port.ts'`,
      'events-imports-only-lower',
    ],
    [
      'the dead letters import the consumer',
      'src/dead-letter/planted-2.ts',
      `import { loop } from '../consumer/loop.ts'\nexport { loop }`,
      'dead-letter-imports-only-lower',
    ],
    [
      'the events side imports the jobs side',
      'src/consumer/planted-3.ts',
      `import { row } from '../jobs/row.ts'\nexport { row }`,
      'consumer-imports-only-lower',
    ],
    [
      'the jobs side imports a mere type of the events side',
      'src/worker/planted-4.ts',
      `import type { event } from '../events/event.ts'\nexport type X = typeof event`,
      'worker-imports-only-lower',
    ],
    [
      'the jobs side imports in an expression',
      'src/worker/planted-5.ts',
      `export const x = import('../log/port.ts')`,
      'worker-imports-only-lower',
    ],
    [
      'an import hides in a declaration of something to dispose of',
      'src/worker/planted-disposed.ts',
      `export async function x() { await using y = (await import('../log/port.ts')).port }`,
      'worker-imports-only-lower',
    ],
    [
      'a room imports the public entry',
      'src/jobs/planted-6.ts',
      `export * from '../index.ts'`,
      'jobs-imports-only-lower',
    ],
    [
      'shared rooms import a side',
      'src/counts/planted-7.ts',
      `import '../jobs/row.ts'`,
      'counts-imports-only-lower',
    ],
    [
      'the bridge imports the app',
      'src/bridge/planted-8.ts',
      `import '../app/run.ts'`,
      'bridge-imports-only-lower',
    ],
    [
      'core imports another room',
      'src/core/planted-9.ts',
      `import type { E } from '../errors/error.ts'\nexport type X = E`,
      'core-imports-only-node',
    ],
    [
      'core imports a package',
      'src/core/planted-10.ts',
      `import pg from 'pg'\nexport { pg }`,
      'core-imports-only-node',
    ],
    [
      'another room than postgres imports a type of the client',
      'src/jobs/planted-11.ts',
      `import type pg from 'pg'\nexport type X = pg.Pool`,
      'only-postgres-imports-pg',
    ],
    [
      'the command line looks into a room',
      'src/cli/planted-12.ts',
      `import '../log/port.ts'`,
      'cli-is-a-surface',
    ],
    [
      'the test kit looks into a room',
      'src/testing/planted-13.ts',
      `import '../worker/claim.ts'`,
      'testing-is-a-surface',
    ],
    [
      'src imports a test helper',
      'src/app/planted-14.ts',
      `import '../../test/helper.ts'`,
      'src-stands-alone',
    ],
    [
      'the shop goes past the public entries',
      'apps/shop/src/planted-15.ts',
      `import '../../../src/core/clock.ts'`,
      'apps-import-no-inner-file',
    ],
    [
      'the shop names a file of src even if it is the entry',
      'apps/shop/src/planted-16.ts',
      `import '../../../src/index.ts'`,
      'apps-use-public-entries',
    ],
    [
      'two files import each other',
      'src/jobs/planted-17.ts',
      `import './cycle.ts'\nexport const x = 1`,
      'no-cycles',
    ],
    [
      'a room has no place in the law',
      'src/helpers/planted-18.ts',
      `import '../core/clock.ts'`,
      'every-room-has-a-place',
    ],
    ['an import leads nowhere', 'src/jobs/planted-19.ts', `import './nowhere.ts'`, 'resolvable'],
  ]

const planted = Object.fromEntries(violations.map(([, path, text]) => [path, text]))
const cycle = { 'src/jobs/cycle.ts': `import './planted-17.ts'` }
/** One house with everything planted, cruised once for all tests below. */
const plantedFindings = findings({ ...planted, ...cycle })

for (const [title, path, , rule] of violations) {
  test(`the law is broken when ${title}`, async () => {
    const found = await plantedFindings

    const here = found.filter((finding) => finding.endsWith(` ${path}`))
    assert.ok(here.includes(`${rule} ${path}`), `expected ${rule}, got ${here.join() || 'nothing'}`)
  })
}

function file(path: string, text: string): { path: string; text: string }[] {
  return [{ path, text }]
}

test('a file of more than 500 lines is too long', () => {
  assert.equal(fileSizes(file('src/core/x.ts', '\n'.repeat(300))).length, 0)
  assert.match(fileSizes(file('test/x.ts', '\n'.repeat(501))).join(), /501 lines/)
})

test('a tenth of the files above 350 lines is too many', () => {
  const files = Array.from({ length: 10 }, (_, index) => ({
    path: `src/core/${index}.ts`,
    text: '\n'.repeat(index === 0 ? 360 : 10),
  }))
  assert.match(fileSizes(files).join(), /p95 of src is 360 lines/)
})

test('calls for time, chance and ids are found outside core, with their lines', () => {
  const text = [
    '// Date.now() in a comment and "Date.now()" in a text are fine',
    'const a = Date.now()',
    'const b = new Date()',
    'const c = new Date(a)',
    'setTimeout(() => Math.random(), 1)',
    'setInterval(b, 2)',
    'const clock = { now: performance.now }',
    "import { randomUUID as id } from 'node:crypto'",
    "import { setTimeout as sleep } from 'node:timers/promises'",
    'const d = crypto.randomUUID()',
    'const ä = "ä"; globalThis.setTimeout(ä)',
  ].join('\n')

  const found = forbiddenCalls(file('src/jobs/x.ts', text)).map((line) => line.split(':')[1])

  assert.deepEqual(found, ['2', '3', '5', '5', '6', '7', '8', '9', '10', '11'])
  assert.deepEqual(forbiddenCalls(file('src/core/x.ts', text)), [])
})

test('equal titles and tests left out are found', () => {
  const text = [
    "test('one', () => {})",
    "test('one', () => {})",
    "test.only('two', () => {})",
    "it('three', { skip: true }, () => {})",
    "describe.skip('four', () => {})",
    "test('five', (t) => { t.skip('later') })",
    "test('six', () => {})",
  ].join('\n')

  const lines = testTitles(file('test/x.test.ts', text)).map((line) => line.split(':')[1])

  assert.deepEqual(lines, ['2', '3', '4', '5', '6'])
})

test('a room that is not drawn is found, and one that is only drawn', () => {
  const drawing = '# src\n```\nsrc/\n  core/   the floor\n  jobs/  worker/  two rooms\n```\n'
  const files = [
    { path: 'src/README.md', text: drawing },
    { path: 'src/core/x.ts', text: '' },
    { path: 'src/jobs/x.ts', text: '' },
  ]
  assert.match(roomsDrawn(files).join(), /the drawing has worker\//)
  assert.match(
    roomsDrawn([
      ...files,
      { path: 'src/worker/planted-disposed.ts', text: '' },
      { path: 'src/log/x.ts', text: '' },
    ]).join(),
    /^src\/log\/ is not in the drawing$/,
  )
})

test('paths of a machine and addresses of a registry are found', () => {
  const home = ['', 'home', 'ada', 'code'].join('/')
  const address = ['https://registry', 'npmjs', 'org/pg'].join('.')
  assert.match(noMachineTraces(file('docs/x.md', `cd ${home}`)).join(), /docs\/x\.md:1/)
  assert.match(noMachineTraces(file('package-lock.json', address)).join(), /package-lock\.json:1/)
  assert.deepEqual(noMachineTraces(file('docs/x.md', 'see src/work/x.ts and /var/tmp')), [])
})
