import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { StartOptions } from '../app/options.ts'
import { CliError, usage } from './errors.ts'
import type { Arguments } from './options.ts'
import { loadConfig, type LoadedConfig } from './config-file.ts'

/** Where the address of the database was found. */
export interface FoundDatabase {
  readonly database: StartOptions['database']
  /** In words: `--database-url`, `DATABASE_URL`, … */
  readonly source: string
  readonly config: LoadedConfig | undefined
  /** Kafka brokers of the running shop, when the database is the shop's. */
  readonly brokers?: string
}

/** What finding it needs. */
export interface DatabaseSearch {
  readonly args: Arguments
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Whether the config is needed in any case; else it is only read where the address is not found before it. */
  readonly config: 'needed' | 'if-there' | 'for-address'
}

/** Variables that are looked at, in this order: the one that is ours comes first. */
const VARIABLES = ['MILLRACE_DATABASE_URL', 'DATABASE_URL']
const CONNECTION_FILE = join('.millrace', 'connection.json')

/**
 * The database to use: `--database-url`, then the environment, then the config, then the running shop.
 * @throws E_CLI_NO_DATABASE naming all these places.
 */
export async function findDatabase({
  args,
  env,
  cwd,
  config: want,
}: DatabaseSearch): Promise<FoundDatabase> {
  const flag = args.text('database-url')
  const variable = VARIABLES.find((name) => (env[name] ?? '') !== '')
  const mustLoad =
    want !== 'for-address' ||
    (flag === undefined && variable === undefined) ||
    args.text('config') !== undefined
  const config = mustLoad
    ? await loadConfig(args.text('config'), cwd, want === 'needed')
    : undefined
  if (flag !== undefined)
    return { database: checkUrl(flag, '--database-url'), source: '--database-url', config }
  if (variable !== undefined) {
    return { database: checkUrl(env[variable] as string, variable), source: variable, config }
  }
  const configured = config?.millrace.database
  if (configured !== undefined && config !== undefined) {
    const database = typeof configured === 'string' ? checkUrl(configured, config.file) : configured
    return { database, source: config.file, config }
  }
  const shop = await findConnectionFile(cwd)
  if (shop !== undefined)
    return {
      database: checkUrl(shop.url, shop.file),
      source: shop.file,
      config,
      ...(shop.brokers === undefined ? {} : { brokers: shop.brokers }),
    }
  throw new CliError(
    'E_CLI_NO_DATABASE',
    [
      'no database is named. These places were looked at, in this order:',
      '  --database-url <postgres://…>',
      `  the environment: ${VARIABLES.join(', then ')}`,
      config === undefined
        ? `  a config file: ${join(cwd, 'millrace.config.ts')}, .js or .mjs (there is none)`
        : `  the config file ${config.file} (it names no database)`,
      `  a running shop: ${CONNECTION_FILE} in ${cwd} and the folders above it (there is none; in a clone of millrace, npm start opens one)`,
    ].join('\n'),
    { next: 'DATABASE_URL=postgres://user:password@host:5432/database millrace doctor' },
  )
}

function checkUrl(url: string, source: string): string {
  if (/^postgres(ql)?:\/\/\S+$/.test(url) && URL.canParse(url)) return url
  // Never shown: it may hold a password in a place where nobody would look for one.
  throw usage(
    `${source}: expected a URL that begins with postgres://, got another text of ${url.length} characters`,
  )
}

interface ConnectionFile {
  readonly url: string
  readonly brokers: string | undefined
  readonly file: string
}

async function findConnectionFile(cwd: string): Promise<ConnectionFile | undefined> {
  for (let folder = cwd; ; folder = dirname(folder)) {
    const file = join(folder, CONNECTION_FILE)
    // Missing, half-written or not ours: then it leads nowhere.
    const text = await readFile(file, 'utf8').catch(() => undefined)
    const found = text === undefined ? undefined : connectionIn(text)
    if (found !== undefined) return { ...found, file }
    if (dirname(folder) === folder) return undefined
  }
}

function connectionIn(text: string): Omit<ConnectionFile, 'file'> | undefined {
  try {
    const { databaseUrl, brokers } = JSON.parse(text) as Record<string, unknown>
    if (typeof databaseUrl !== 'string') return undefined
    return { url: databaseUrl, brokers: typeof brokers === 'string' ? brokers : undefined }
  } catch {
    return undefined
  }
}
