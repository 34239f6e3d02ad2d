import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

/** The repository's top folder. */
export const root: string = resolve(import.meta.dirname, '..')

const skipped = new Set(['node_modules', '.git', '.millrace', 'dist', 'coverage'])

/** One file of the repository: its path from the top, with forward slashes, and its text. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** All files that are or may be committed, sorted by path; binary files have an empty text. */
export function sourceFiles(): SourceFile[] {
  return walk(root)
    .map((absolute) => {
      const text = readFileSync(absolute, 'utf8')
      const path = relative(root, absolute).replaceAll('\\', '/')
      return { path, text: text.includes('\0') ? '' : text }
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

function walk(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return skipped.has(entry.name) ? [] : walk(path)
    return entry.isFile() ? [path] : []
  })
}
