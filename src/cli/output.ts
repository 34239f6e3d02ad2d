import { safeJson, safeLine, safeLines } from './safe-text.ts'
import { formatTable, type Column } from './table.ts'

/** How data is printed. */
export type Format = 'text' | 'json' | 'jsonl'

/** When colours are used. */
export type ColorChoice = 'auto' | 'always' | 'never'

/** The part of a stream that is needed here. */
export interface Stream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(chunk: string | Uint8Array): boolean
  once(event: 'drain' | 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'drain' | 'close', listener: () => void): unknown
}

/** Options of {@link Output}. */
export interface OutputOptions {
  readonly stdout: Stream
  readonly stderr: Stream
  readonly format: Format
  readonly color: ColorChoice
  readonly env: Readonly<Record<string, string | undefined>>
}

/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[]
  /** What `--before` takes to go on; null: this was all. */
  readonly more: string | null
}

/**
 * Where a command prints. Data, and only data, goes to stdout; talk, warnings and errors to stderr. Everything that
 * came from elsewhere is neutralized on its way.
 */
export class Output {
  readonly format: Format
  readonly #stdout: Stream
  readonly #stderr: Stream
  readonly #options: OutputOptions
  #closed = false

  constructor(options: OutputOptions) {
    this.format = options.format
    this.#options = options
    this.#stdout = options.stdout
    this.#stderr = options.stderr
    // `millrace … | head`: whoever has read enough is no failure of ours.
    this.#stdout.on('error', () => {
      this.#closed = true
    })
    this.#stderr.on('error', () => {})
  }

  /** Whether nobody reads stdout any more. */
  get closed(): boolean {
    return this.#closed
  }

  /** Whether stdout is a terminal, which acts on some bytes. */
  get toTerminal(): boolean {
    return this.#stdout.isTTY === true
  }

  /** Cells of a line of text on stdout; undefined: no limit. */
  get width(): number | undefined {
    const asked = Number(this.#options.env['COLUMNS'])
    if (Number.isSafeInteger(asked) && asked >= 20) return asked
    return this.#stdout.isTTY === true ? (this.#stdout.columns ?? 80) : undefined
  }

  /** One JSON document. */
  json(value: unknown): void {
    this.#out(`${safeJson(value, this.#stdout.isTTY === true ? 2 : undefined)}\n`)
  }

  /** One line of JSON of a stream. Resolves when there is room for more. */
  async jsonl(value: unknown): Promise<void> {
    await this.#flow(`${safeJson(value)}\n`)
  }

  /** Lines of text. */
  text(lines: string): void {
    this.#out(`${safeLines(lines)}\n`)
  }

  /** One line of a stream of text. Resolves when there is room for more. */
  async line(text: string): Promise<void> {
    await this.#flow(`${safeLine(text)}\n`)
  }

  /** Exactly these bytes, whatever they are. */
  raw(bytes: Uint8Array): void {
    if (!this.#closed) this.#stdout.write(bytes)
  }

  /** Talk to people, on stderr. */
  note(text: string): void {
    this.#stderr.write(`${safeLines(text)}\n`)
  }

  /** Already neutralized text, on stderr. */
  error(text: string): void {
    this.#stderr.write(text)
  }

  /** Makes `text` stand out on `stream`, if colours are used there. `text` must be safe already. */
  style(style: keyof typeof STYLES, text: string, stream: 'stdout' | 'stderr' = 'stdout'): string {
    return this.#colored(stream) ? `${STYLES[style]}${text}\u001b[0m` : text
  }

  /** Text that may hold our own colours, so it must be safe already. */
  styled(text: string): void {
    this.#out(`${text}\n`)
  }

  /** A table, or what an empty one teaches. */
  table<T>(columns: readonly Column<T>[], rows: readonly T[]): void {
    const lines = formatTable(columns, rows, {
      width: this.width,
      heading: (text) => this.style('dim', text),
    })
    this.#out(`${lines.join('\n')}\n`)
  }

  /** A list in the format asked for. `empty` says, on stderr, what it means that there is nothing. */
  async list<T>(
    columns: readonly Column<T>[],
    page: Page<T>,
    toJson: (item: T) => unknown,
    empty: string,
  ): Promise<void> {
    if (this.format === 'json') {
      this.json({ items: page.items.map(toJson), more: page.more })
      return
    }
    if (this.format === 'jsonl') {
      for (const item of page.items) await this.jsonl(toJson(item))
    } else if (page.items.length > 0) {
      this.table(columns, page.items)
    }
    if (page.items.length === 0) this.note(empty)
    if (page.more !== null) this.note(`more: --before ${page.more}`)
  }

  #out(text: string): void {
    if (!this.#closed) this.#stdout.write(text)
  }

  async #flow(text: string): Promise<void> {
    if (this.#closed || this.#stdout.write(text)) return
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#stdout.off('drain', done)
        this.#stdout.off('close', done)
        resolve()
      }
      this.#stdout.once('drain', done)
      this.#stdout.once('close', done)
    })
  }

  #colored(stream: 'stdout' | 'stderr'): boolean {
    const { color, env } = this.#options
    if (color !== 'auto') return color === 'always'
    if ((env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb') return false
    return (stream === 'stdout' ? this.#stdout : this.#stderr).isTTY === true
  }
}

const STYLES = {
  bold: '\u001b[1m',
  dim: '\u001b[2m',
  red: '\u001b[31m',
  green: '\u001b[32m',
  yellow: '\u001b[33m',
} as const
