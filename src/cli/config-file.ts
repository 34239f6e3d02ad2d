import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { MillraceConfig } from '../app/config.ts'
import { CliError } from './errors.ts'

/** A config file that was found and read. */
export interface LoadedConfig {
  readonly file: string
  readonly millrace: MillraceConfig
}

const NAMES = ['millrace.config.ts', 'millrace.config.js', 'millrace.config.mjs']
const EXAMPLE =
  "export const millrace = defineConfig({ run: [ … ] }), with import { defineConfig } from 'millrace'"

/**
 * Reads the config: `given`, or the first of its usual names in `cwd`.
 * @throws E_CLI_CONFIG when it is missing though given or `needed`, cannot be read, or exports no `millrace`.
 */
export async function loadConfig(
  given: string | undefined,
  cwd: string,
  needed: boolean,
): Promise<LoadedConfig | undefined> {
  const file = given === undefined ? await findConfig(cwd) : resolve(cwd, given)
  if (file === undefined) {
    if (!needed) return undefined
    throw new CliError(
      'E_CLI_CONFIG',
      `there is no ${NAMES.join(', ')} in ${cwd}, and no --config names another. Write one: ${EXAMPLE}.`,
    )
  }
  if (!(await isFile(file))) throw new CliError('E_CLI_CONFIG', `there is no config file ${file}`)
  let exported: Readonly<Record<string, unknown>>
  try {
    exported = (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>
  } catch (error) {
    const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    throw new CliError('E_CLI_CONFIG', `the config file ${file} cannot be loaded: ${why}`, {
      next: `node ${file}`,
      cause: error,
    })
  }
  const { millrace } = exported
  if (typeof millrace !== 'object' || millrace === null) {
    // A file without any export is taken for CommonJS, which has these two.
    const isCommonJs = 'module.exports' in exported
    const names = isCommonJs ? [] : Object.keys(exported)
    const got = names.length === 0 ? 'exports nothing' : `exports only ${names.join(', ')}`
    throw new CliError('E_CLI_CONFIG', `the config file ${file} ${got}. Write: ${EXAMPLE}.`)
  }
  return { file, millrace }
}

async function findConfig(cwd: string): Promise<string | undefined> {
  for (const name of NAMES) {
    const file = join(cwd, name)
    if (await isFile(file)) return file
  }
  return undefined
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  )
}
