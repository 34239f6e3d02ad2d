import type { StartOptions } from '../app/options.ts'
import type { CommandContext } from './command.ts'
import type { FoundDatabase } from './database-url.ts'
import { CliError } from './errors.ts'

/**
 * The log to use: `--brokers`, then MILLRACE_BROKERS, then the config's, then the running shop's. Undefined: the table log.
 * @throws E_CLI_NO_KAFKA when the Kafka client is not installed; E_CONFIG_INVALID
 */
export async function findLog(
  { args, env }: Pick<CommandContext, 'args' | 'env'>,
  { config, brokers: ofShop }: Pick<FoundDatabase, 'config' | 'brokers'>,
): Promise<StartOptions['log']> {
  const variable = env['MILLRACE_BROKERS'] ?? ''
  const named = args.text('brokers') ?? (variable === '' ? undefined : variable)
  const configured = config?.millrace.log
  const brokers = named ?? (configured === undefined ? ofShop : undefined)
  if (brokers === undefined) return configured
  const { kafka } = await import('../kafka/index.ts').catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new CliError(
      'E_CLI_NO_KAFKA',
      'brokers are named, but the Kafka client is not installed',
      {
        next: 'npm install @platformatic/kafka',
        cause: error,
      },
    )
  })
  return kafka({ brokers })
}
