import { appendFileSync, renameSync, statSync } from 'node:fs'
import { isMillraceError, jsonLogger, type Logger } from 'millrace'

/** The log file is begun anew at this size, in bytes; the one before is kept. */
const LOG_LIMIT = 10 * 1_048_576
/** The same sentence is not said again before this has passed, in milliseconds. */
const REPEAT_MS = 10_000
const SENTENCES_REMEMBERED = 100

/** What the shop says to people, on stderr, beside the figures on stdout. */
export interface Talk {
  /** Says a sentence. */
  readonly say: (text: string) => void
  /** Says why the shop cannot go on. */
  readonly fail: (error: unknown) => void
  /** For millrace: everything into the log file, and warnings and errors also as sentences. */
  readonly logger: Logger
}

/** Talk that goes through `write`, and into a log file. */
export function talk(logFile: string, write: (line: string) => void): Talk {
  const said = new Map<string, number>()
  const file = jsonLogger({ level: 'info', write: (line) => appendBounded(logFile, line) })
  const loud = (kind: string, fields: Readonly<Record<string, unknown>>, message: string): void => {
    const now = performance.now()
    if (now - (said.get(message) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return
    if (said.size > SENTENCES_REMEMBERED) said.clear()
    said.set(message, now)
    write(`${kind}: ${message}${reasonIn(fields)}`)
  }
  const make = (inner: Logger): Logger => ({
    debug: (fields, message) => inner.debug(fields, message),
    info: (fields, message) => inner.info(fields, message),
    warn: (fields, message) => {
      inner.warn(fields, message)
      loud('warning', fields, message)
    },
    error: (fields, message) => {
      inner.error(fields, message)
      loud('error', fields, message)
    },
    child: (fields) => make(inner.child(fields)),
  })
  return {
    say: (text) => {
      file.info({}, text)
      write(text)
    },
    fail: (error) => {
      file.error({ error }, 'the shop cannot go on')
      const text = error instanceof Error ? error.message : String(error)
      write(isMillraceError(error) ? `${error.code}: ${text}` : `The shop cannot go on: ${text}`)
    },
    logger: make(file),
  }
}

function reasonIn({ error }: Readonly<Record<string, unknown>>): string {
  const { message } = (error ?? {}) as { readonly message?: unknown }
  return typeof message === 'string' && message !== '' ? ` (${message.replace(/\n.*/s, '')})` : ''
}

function appendBounded(file: string, line: string): void {
  try {
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
    if (size > LOG_LIMIT) renameSync(file, `${file}.1`)
    appendFileSync(file, `${line}\n`, { mode: 0o600 })
  } catch {
    // A full disk must not stop the shop; the warnings are said on stderr as well.
  }
}
