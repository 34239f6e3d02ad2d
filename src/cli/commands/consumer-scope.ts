import type { ConsumerScope, RefusedPosition } from '../../consumer/queries.ts'
import { parseDuration } from '../../core/duration.ts'
import { usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import type { Arguments, OptionSet } from '../options.ts'
import type { Output } from '../output.ts'

/** Options that choose partitions of an application. */
export const SCOPE_OPTIONS: OptionSet = {
  app: { type: 'string', value: '<name>', help: 'which application' },
  topic: { type: 'string', value: '<topic>', help: 'only this topic of it' },
  partition: { type: 'string', value: '<n>', help: 'only this partition of that topic' },
}

const MOST_PARTITIONS = 1_000_000

/**
 * Reads {@link SCOPE_OPTIONS}.
 * @throws E_CLI_USAGE without --app, or with a partition of no topic.
 */
export function consumerScope(args: Arguments): ConsumerScope {
  const application = args.text('app')
  const topic = args.text('topic')
  const partition = args.whole('partition', 0, MOST_PARTITIONS)
  if (application === undefined)
    throw usage('which application? --app <name>', 'millrace consumers list')
  if (partition !== undefined && topic === undefined)
    throw usage('--partition needs --topic: which topic is it of?')
  return {
    application,
    ...(topic === undefined ? {} : { topic }),
    ...(partition === undefined ? {} : { partition }),
  }
}

/** A scope in words: `search/products/3`. */
export function nameOfScope({ application, topic, partition }: ConsumerScope): string {
  return [application, topic, partition].filter((part) => part !== undefined).join('/')
}

/**
 * --for in milliseconds, if it is given.
 * @throws E_CLI_USAGE when it is no time of at least a second.
 */
export function durationOf(args: Arguments): number | undefined {
  const text = args.text('for')
  if (text === undefined) return undefined
  const ms = parseDuration(text)
  if (ms === undefined || ms < 1_000)
    throw usage(`--for: expected a time of at least a second, as 30m or 2h; got '${text}'`)
  return ms
}

/** Says what was refused and why, and gives the exit code for it. */
export function noteRefused(out: Output, refused: readonly RefusedPosition[]): ExitCode {
  for (const { topic, partition, why } of refused) out.note(`refused ${topic}/${partition}: ${why}`)
  return refused.length === 0 ? EXIT.ok : EXIT.partial
}
