import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { link, readdir, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** How many mails are kept; beyond, the oldest go. One takes 4 KB of most disks. */
export const MAILBOX_LIMIT = 20_000
/** Removing them one at a time would look through them each time. */
const PRUNE_AT_ONCE = 500
const STAT_AT_ONCE = 64
const ABANDONED_MS = 60_000

/** Whether a mail was new, or one with this Message-ID was there already. */
export type Stored = 'stored' | 'known'

/** A mailbox in the Maildir format: a file per mail, which people and most mail programs can open. */
export class Mailbox {
  readonly directory: string
  readonly #limit: number
  /** Names of the mails' files, oldest first. */
  readonly #names = new Set<string>()
  #stored = 0
  #known = 0
  #written = 0
  #pruning: Promise<void> | undefined

  constructor(directory: string, options: { readonly limit?: number } = {}) {
    this.directory = directory
    this.#limit = options.limit ?? MAILBOX_LIMIT
  }

  /** Makes the folders and finds the mails of earlier runs. */
  async open(): Promise<void> {
    for (const folder of ['tmp', 'new', 'cur']) {
      mkdirSync(join(this.directory, folder), { recursive: true })
    }
    for (const name of await readdir(this.#path('tmp'))) {
      const draft = this.#path('tmp', name)
      // What a process that was killed had not finished; another shop may be at work on a younger one.
      if ((await ageMs(draft)) > ABANDONED_MS) await rm(draft, { force: true })
    }
    const names = await readdir(this.#path('new'))
    const found: { name: string; age: number }[] = []
    for (let index = 0; index < names.length; index += STAT_AT_ONCE) {
      const some = names.slice(index, index + STAT_AT_ONCE).map(async (name) => {
        found.push({ name, age: await ageMs(this.#path('new', name)) })
      })
      await Promise.all(some)
    }
    for (const { name } of found.sort((a, b) => b.age - a.age)) this.#names.add(name)
    // A mail program moves what was read to `cur` and adds its marks after a colon.
    for (const name of await readdir(this.#path('cur'))) this.#names.add(name.replace(/:.*/, ''))
  }

  /** How many mails it holds. */
  get size(): number {
    return this.#names.size
  }

  /** How many this process has stored. */
  get stored(): number {
    return this.#stored
  }

  /** How many were sent again, and not stored again. */
  get known(): number {
    return this.#known
  }

  /** Stores a mail under its Message-ID; one that is there already is left as it is. */
  async store(messageId: string, content: Uint8Array): Promise<Stored> {
    const name = nameOf(messageId)
    if (this.#names.has(name)) return this.#again()
    this.#written += 1
    const draft = this.#path('tmp', `${process.pid}-${this.#written}.eml`)
    await writeFile(draft, content, { mode: 0o600 })
    try {
      // A link, unlike a rename, does not replace what another shop on this mailbox has just stored.
      await link(draft, this.#path('new', name))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      return this.#again()
    } finally {
      await unlink(draft)
    }
    this.#names.add(name)
    this.#stored += 1
    this.#prune()
    return 'stored'
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#pruning
  }

  #again(): Stored {
    this.#known += 1
    return 'known'
  }

  #prune(): void {
    if (this.#names.size <= this.#limit + PRUNE_AT_ONCE || this.#pruning !== undefined) return
    const old = [...this.#names].slice(0, this.#names.size - this.#limit)
    for (const name of old) this.#names.delete(name)
    this.#pruning = Promise.all(
      old.map((name) => rm(this.#path('new', name), { force: true })),
    ).then(
      () => {
        this.#pruning = undefined
      },
      () => {
        // A file that cannot be removed now is found and removed by a later start.
        this.#pruning = undefined
      },
    )
  }

  #path(...parts: readonly string[]): string {
    return join(this.directory, ...parts)
  }
}

/** Of a file, in milliseconds; 0 when it is gone. */
async function ageMs(path: string): Promise<number> {
  try {
    return Date.now() - (await stat(path)).mtimeMs
  } catch {
    // Another shop on this mailbox has removed it.
    return 0
  }
}

/** Any Message-ID, as a file's name. */
function nameOf(messageId: string): string {
  return `${createHash('sha256').update(messageId).digest('hex').slice(0, 32)}.eml`
}
