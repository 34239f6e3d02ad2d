/** Structured fields of a log line. Values are data, never whole `args` or `data`. */
export type LogFields = Readonly<Record<string, unknown>>

/** Where millrace writes its log: fields first, then a constant sentence. pino's loggers fit as they are. */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger
}

/** Says nothing. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
}
