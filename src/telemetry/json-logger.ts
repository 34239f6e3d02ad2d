import { systemClock, type Clock } from '../core/clock.ts'
import type { LogFields, Logger } from '../core/logger.ts'
import { safeJsonText } from '../core/safe-json-text.ts'
import { describeError } from '../errors/describe.ts'
import { redact } from '../errors/redact.ts'

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
const RESERVED: readonly string[] = ['at', 'level', 'message']

/**
 * A logger that writes one JSON object per line: `{"at", "level", "message", …fields}`. Errors become plain data;
 * passwords of URLs and connection strings are taken out; no character can break out of the line, hide or reorder it.
 * Fields named `at`, `level` or `message` are written as `fields.at`, `fields.level`, `fields.message`.
 */
export function jsonLogger(options: JsonLoggerOptions = {}): Logger {
  const { level = 'info', clock = systemClock } = options
  const write = options.write ?? ((line: string) => void process.stderr.write(`${line}\n`))
  const least = LEVELS.indexOf(level)

  function make(bound: LogFields): Logger {
    const say = (at: LogLevel) => (fields: LogFields, message: string) => {
      if (LEVELS.indexOf(at) < least) return
      write(
        toLine({
          at: clock.now().toISOString(),
          level: at,
          message,
          ...aside({ ...bound, ...fields }),
        }),
      )
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

/** `fields` with those out of the way that would pass for the line's own. */
function aside(fields: LogFields): LogFields {
  if (!RESERVED.some((name) => name in fields)) return fields
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      RESERVED.includes(name) ? `fields.${name}` : name,
      value,
    ]),
  )
}

function toLine(entry: LogFields): string {
  const json = JSON.stringify(entry, (_, value: unknown) => {
    if (value instanceof Error) return describeError(value)
    if (typeof value === 'bigint') return String(value)
    if (typeof value === 'string') return redact(value)
    return value
  })
  return safeJsonText(json)
}
