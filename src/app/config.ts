import type { EventDefinition } from '../events/event.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import type { StartOptions } from './options.ts'

/**
 * What `millrace.config.ts` exports under the name `millrace`: the options of `start`, and what only the command line
 * needs beside them.
 */
export interface MillraceConfig extends Omit<StartOptions, 'database'> {
  /** A pool that you have, or a URL. `--database-url` and the environment come before it. Default: only those. */
  readonly database?: StartOptions['database']
  /** Events that `millrace events publish` knows, beside those that the applications of `run` handle. Default none. */
  readonly events?: readonly EventDefinition<string, never, unknown>[]
}

/**
 * Gives its argument back, with its type checked.
 *
 * ```ts
 * // millrace.config.ts
 * export const millrace = defineConfig({ run: [search, commissions], queues: { mail: 10 } })
 * ```
 */
export function defineConfig(config: MillraceConfig): MillraceConfig {
  return config
}

/** The events that a configuration names, by type. */
export function configuredEvents(
  config: MillraceConfig,
): ReadonlyMap<string, EventDefinition<string, never, unknown>> {
  const handled = (config.run ?? []).flatMap(({ registrations }) =>
    registrations.flatMap(({ definition }) => (definition.kind === 'event' ? [definition] : [])),
  )
  return new Map(
    [...handled, ...(config.events ?? [])].map((definition) => [definition.type, definition]),
  )
}

/** The kinds of jobs that a configuration names, also those that its applications make. */
export function configuredJobs(
  config: Pick<MillraceConfig, 'run' | 'jobs'>,
): readonly AnyJobDefinition[] {
  const made = (config.run ?? []).flatMap(({ registrations }) =>
    registrations.flatMap(({ handler }) =>
      'job' in handler ? [handler.job as AnyJobDefinition] : [],
    ),
  )
  return [...new Set([...(config.jobs ?? []), ...made])]
}
