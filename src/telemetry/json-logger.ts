import { systemClock, type Clock } from '../core/clock.ts'
import type { LogFields, Logger } from '../core/logger.ts'
import { describeError } from '../errors/describe.ts'

/** How much is said. Each level includes those after it. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Options of {@link jsonLogger}. */
export interface JsonLoggerOptions {
  /** Least level that is written. Default `'info'`. */
  readonly level?: LogLevel
  /** Where a line goes, without its line end. Default: standard error. */
  readonly write?: (line: string) => void
  readonly clock?: Clock
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/**
 * A logger that writes one JSON object per line: `{"at", "level", "message", …fields}`. Errors become plain data;
 * passwords in URLs are taken out; line breaks and control characters cannot break out of the line.
 */
export function jsonLogger(options: JsonLoggerOptions = {}): Logger {
  const { level = 'info', clock = systemClock } = options
  const write = options.write ?? ((line: string) => void process.stderr.write(`${line}\n`))
  const least = LEVELS.indexOf(level)

  function make(bound: LogFields): Logger {
    const say = (at: LogLevel) => (fields: LogFields, message: string) => {
      if (LEVELS.indexOf(at) < least) return
      write(toLine({ at: clock.now().toISOString(), level: at, message, ...bound, ...fields }))
    }
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      child: (fields) => make({ ...bound, ...fields }),
    }
  }
  return make({})
}

function toLine(entry: LogFields): string {
  return JSON.stringify(entry, (_, value: unknown) => {
    if (value instanceof Error) return describeError(value)
    if (typeof value === 'bigint') return String(value)
    if (typeof value === 'string') return redactUrls(value)
    return value
  })
}

/** `text` with the passwords of URLs in it replaced by `***`. */
export function redactUrls(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@]+@/gi, '$1:***@')
}
