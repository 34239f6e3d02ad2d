import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { cleanup } from '../support/cleanup.ts'

const root = join(import.meta.dirname, '..', '..')
const copied = ['src', 'sql', 'package.json', 'test/chaos', 'test/support']

/**
 * Copies the sources into a folder of their own, with a patch applied, and gives that folder; it is removed with the
 * test. A patch that does not apply any more is an error that says what to do.
 *
 * @param patch path of a unified diff against the top folder, `-p1`
 */
export async function patchedCopy(t: TestContext, patch: string): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'millrace-planted-'))
  cleanup(t, () => rm(copy, { recursive: true, force: true }))
  for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true })
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  try {
    await promisify(execFile)('git', ['apply', '--recount', '--whitespace=nowarn', patch], {
      cwd: copy,
      // Whatever repository the folder lies in is none of its business.
      env: { ...process.env, GIT_CEILING_DIRECTORIES: tmpdir() },
    })
  } catch (error) {
    const { stderr } = error as { readonly stderr?: string }
    throw new Error(
      `${patch} does not apply to src any more. Refresh it: plant the same bug in the code as it is now, and write down the difference.\n${stderr ?? String(error)}`,
      { cause: error },
    )
  }
  return copy
}
