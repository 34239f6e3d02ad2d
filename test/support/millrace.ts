import type { TestContext } from 'node:test'
import { silentLogger, type Logger, type LogFields } from '../../src/core/logger.ts'
import { start, type Millrace } from '../../src/app/start.ts'
import type { StartOptions } from '../../src/app/options.ts'
import { cleanup } from './cleanup.ts'
import { eventually } from './wait.ts'

/** A millrace that reads what it is to read, and is stopped when the test ends at the latest. Quick to take over, silent. */
export async function running(t: TestContext, options: StartOptions): Promise<Millrace> {
  const millrace = await start({
    takeOverMs: 3_000,
    heartbeatMs: 200,
    stopMs: 2_000,
    logger: silentLogger,
    ...options,
  })
  cleanup(t, () => millrace.stop())
  const names = (options.run ?? []).map(({ name }) => name)
  // Every application has its positions, and each of them has somebody who reads it, or is stopped or paused.
  await eventually(async () => {
    const { rows } = await millrace.database.query<{ ready: boolean }>(
      `select bool_and(owner is not null or halted is not null
         or exists (select from millrace.pause z where z.application = p.application)) as ready
       from millrace.position p where application = any ($1) group by application`,
      [names],
    )
    return rows.length === names.length && rows.every(({ ready }) => ready)
  })
  return millrace
}

/** One line that was logged. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: LogFields
}

/** A logger that keeps its lines. */
export function keepingLogger(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const make = (bound: LogFields): Logger => {
    const say = (level: LogLine['level']) => (fields: LogFields, message: string) => {
      lines.push({ level, message, fields: { ...bound, ...fields } })
    }
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      child: (fields) => make({ ...bound, ...fields }),
    }
  }
  return { ...make({}), lines }
}

/** Waits until everything in the log has been read by every application and no job is left. */
export async function settled(millrace: Millrace): Promise<void> {
  await eventually(async () => {
    // The lag first: what was read meanwhile has made its jobs by then.
    const { lag } = await millrace.summary()
    const { rows } = await millrace.database.query<{ open: string }>(
      `select (select count(*) from millrace.job) + (select count(*) from millrace.position where halted is null and owner is null) as open`,
    )
    return lag === 0 && Number(rows[0]?.open) === 0
  })
}
