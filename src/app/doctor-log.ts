import type { Check } from './check.ts'
import type { Operator } from './operator.ts'

/** Whether the log answers, and knows the topics. */
export async function checkLog(operator: Operator): Promise<Check> {
  const base = { id: 'log.reachable', title: `log (${operator.logKind})` }
  try {
    const log = await operator.log()
    const topics = await log.topics()
    return { ...base, state: 'ok', found: `answers; ${topics.length} topics` }
  } catch (error) {
    return {
      ...base,
      state: 'failure',
      found: error instanceof Error ? error.message : String(error),
      fix: 'Start the brokers, or name others with --brokers',
    }
  }
}
