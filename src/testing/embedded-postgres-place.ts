import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmdirSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { MillraceError } from '../errors/millrace-error.ts'
import { accountMay, serverAccount, type Account } from './embedded-postgres-account.ts'
import { copyBinaries, installedBinaries, linkLibraries } from './embedded-postgres-binaries.ts'

/** Where a server's files are and who runs it. */
export interface Place {
  /** Folder of everything below; belongs to this process's user. */
  readonly directory: string
  /** PostgreSQL's own data folder; belongs to the account that runs it. */
  readonly data: string
  /** `bin`, `lib` and `share`. */
  readonly native: string
  /** Undefined when this process's own user runs the server. */
  readonly account: Account | undefined
}

/**
 * Finds a folder that the server's account can reach, and makes it. For root that is another one than asked for when
 * the account cannot enter that, for instance in a clone inside root's home.
 */
export function findPlace(wanted: string | undefined, onNotice: (text: string) => void): Place {
  const installed = installedBinaries()
  const account = leftBy(wanted) ?? serverAccount()
  const directory = makeDirectory(wanted, account, onNotice)
  const usable =
    linkLibraries(installed) &&
    (account === undefined || accountMay(account, 'x', join(installed, 'bin', 'postgres')))
  const native = usable ? installed : copyBinaries(installed, directory)
  return { directory, data: join(directory, 'data'), native, account }
}

/** As root, the data that another account's run has left are run as that account again. */
function leftBy(wanted: string | undefined): Account | undefined {
  const data = wanted === undefined ? undefined : join(wanted, 'data')
  if (data === undefined || process.geteuid?.() !== 0 || !existsSync(data)) return undefined
  const { uid, gid } = lstatSync(data)
  return uid === 0 ? undefined : { name: `with id ${uid}`, uid, gid }
}

function makeDirectory(
  wanted: string | undefined,
  account: Account | undefined,
  onNotice: (text: string) => void,
): string {
  if (wanted === undefined) {
    const fresh = mkdtempSync(join(tmpdir(), 'millrace-postgres-'))
    if (account === undefined) return fresh
    chmodSync(fresh, 0o711)
    if (accountMay(account, 'x', fresh)) return fresh
    rmdirSync(fresh)
    return makeDirectory(fresh, account, onNotice)
  }
  const asked = resolve(wanted)
  if (account === undefined || accountMay(account, 'x', nearestExisting(asked))) {
    mkdirSync(dirname(asked), { recursive: true })
    const made = makeOwn(asked, account)
    if (account === undefined || accountMay(account, 'x', asked)) return asked
    if (made) rmdirSync(asked)
  }
  const hash = createHash('sha256').update(asked).digest('hex').slice(0, 16)
  const elsewhere = join(existsSync('/var/tmp') ? '/var/tmp' : tmpdir(), `millrace-${hash}`)
  makeOwn(elsewhere, account)
  refuseForeign(elsewhere)
  onNotice(
    `PostgreSQL cannot run as root, and the account ${account.name} cannot enter ${asked}: its files live in ${elsewhere}.`,
  )
  return elsewhere
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path))
}

/**
 * Makes the folder for this process's user alone to write in; the server's account may only pass through. Gives back
 * false when it was there.
 */
function makeOwn(directory: string, account: Account | undefined): boolean {
  try {
    mkdirSync(directory, { mode: account === undefined ? 0o700 : 0o711 })
    if (account !== undefined) chmodSync(directory, 0o711)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotMake(directory, error)
    if (!lstatSync(directory).isDirectory()) throw cannotMake(directory, 'it is not a folder')
    return false
  }
}

function cannotMake(directory: string, cause: unknown): MillraceError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MillraceError(
    'E_DB_CONNECT',
    `Cannot make the folder ${directory} for PostgreSQL: ${reason}. Make room or give it to this user, or pass another \`directory\`.`,
    { cause },
  )
}

/** In a folder where everybody may write, a name that can be guessed may have been taken by somebody else. */
function refuseForeign(directory: string): void {
  const { uid, mode } = lstatSync(directory)
  if (uid === process.geteuid?.() && (mode & 0o022) === 0) return
  throw new MillraceError(
    'E_DB_CONNECT',
    `${directory} exists, but it belongs to the user with id ${uid} or others may write in it, so it is not trusted. ` +
      `Remove it, or pass another \`directory\`.`,
  )
}

/** Makes a folder inside the place that belongs to the server's account, mode 0700. */
export function makeAccountFolder(place: Place, path: string): void {
  mkdirSync(path, { mode: 0o700 })
  if (place.account !== undefined) chownSync(path, place.account.uid, place.account.gid)
}
