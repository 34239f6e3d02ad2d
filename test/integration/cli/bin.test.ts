import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { cleanup } from '../../support/cleanup.ts'

const BIN = fileURLToPath(new URL('../../../bin/millrace.mjs', import.meta.url))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(file: string, args: readonly string[], cwd?: string): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'] }, ...(cwd === undefined ? {} : { cwd }) }
    execFile(process.execPath, [file, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

describe('bin/millrace.mjs', () => {
  it('runs the command line, with its exit code', async () => {
    const version = await run(BIN, ['version', '--json'])
    assert.deepEqual([version.code, version.stderr], [0, ''])
    assert.equal((JSON.parse(version.stdout) as { node: string }).node, process.versions.node)
    assert.equal((await run(BIN, ['jobs', 'lst'])).code, 2)
  })

  it('keeps what Node has made of the sources, in the clone', async () => {
    const cache = fileURLToPath(new URL('../../../.millrace/compile-cache/', import.meta.url))
    await run(BIN, ['version'])
    const [folder = ''] = await readdir(cache)
    assert.ok((await readdir(join(cache, folder))).length > 0)
  })

  it('works through the link that npm makes of it', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-bin-'))
    cleanup(t, () => rm(folder, { recursive: true, force: true }))
    await symlink(BIN, join(folder, 'millrace'))
    assert.equal((await run(join(folder, 'millrace'), ['version'])).code, 0)
  })

  it('says what to do when it stands alone on an old Node', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-bin-'))
    cleanup(t, () => rm(folder, { recursive: true, force: true }))
    const file = join(folder, 'millrace.mjs')
    // The version of a process cannot be chosen, so the one it needs is.
    const text = await readFile(BIN, 'utf8')
    await writeFile(file, text.replace('const neededMajor = 24', 'const neededMajor = 999'))
    const { code, stdout, stderr } = await run(file, ['version'], folder)
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, /needs Node 999 or newer[^]*E_NODE_VERSION[^]*next install Node 999/)
  })
})
