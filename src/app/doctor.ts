import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'
import { checkClock, checkConnecting, checkListening, checkSettings } from './doctor-database.ts'
import { checkMigrations, checkParts } from './doctor-millrace.ts'
import { checkAlerts, checkDeadLetters, checkExports } from './doctor-dead-letters.ts'
import { checkHeldBack } from './doctor-held-back.ts'
import { checkLog } from './doctor-log.ts'
import { foreignPositions } from './doctor-positions.ts'
import { checkOutbox } from './doctor-outbox.ts'
import { checkSeenEvents } from './doctor-seen.ts'
import type { Operator } from './operator.ts'

/** Options of {@link examine}. */
export interface ExamineOptions {
  /** Connections that a process will use at most. Default 10, that of `start`. */
  readonly poolSize?: number
  /** How long a notification may take to come back, in milliseconds. Default 2,000. */
  readonly listenMs?: number
}

/** Looks at everything that millrace needs of its surroundings. Changes nothing, and never throws for what it finds. */
export async function examine(operator: Operator, options: ExamineOptions = {}): Promise<Check[]> {
  const connected = await checkConnecting(operator.pool)
  if (connected.some(({ state }) => state === 'failure')) return connected
  const { core, pool } = operator
  const checks = [...connected]
  const steps: readonly [id: string, title: string, step: () => Promise<Check[]>][] = [
    ['database.settings', 'settings', () => checkSettings(pool, options.poolSize ?? 10)],
    [
      'database.listen',
      'notifications',
      () => checkListening(core, pool, options.listenMs ?? 2_000),
    ],
    ['database.clock', 'clock', () => checkClock(core, pool)],
    ['migrations', 'migrations', () => checkMigrations(pool)],
  ]
  // The table log lies in the database that was looked at.
  const log = operator.logKind === 'table' ? undefined : await checkLog(operator)
  if (log !== undefined) checks.push(log)
  for (const [id, title, step] of steps) checks.push(...(await guarded(id, title, step)))
  if (await hasTables(pool)) {
    let elsewhere: readonly string[] = []
    const positions = async (): Promise<readonly Check[]> => {
      const found = await foreignPositions(operator)
      elsewhere = found.topicIds
      return found.checks
    }
    checks.push(...(await guarded('log.positions', 'log of the positions', positions)))
    const parts = (): Promise<Check[]> => checkParts(pool, elsewhere)
    checks.push(...(await guarded('millrace', 'tables of millrace', parts)))
    const open = (): Promise<Check[]> => checkHeldBack(operator)
    if (log?.state !== 'failure')
      checks.push(...(await guarded('log.open-transactions', 'open transactions', open)))
    checks.push(...(await guarded('outbox', 'outbox', () => checkOutbox(pool))))
    const seen = (): Promise<Check[]> => checkSeenEvents(pool)
    checks.push(...(await guarded('seen-events', 'remembered events', seen)))
    const letters = (): Promise<Check[]> => checkDeadLetters(pool)
    checks.push(...(await guarded('dead-letters', 'dead letters', letters)))
    const copies = (): Promise<Check[]> => checkExports(pool)
    checks.push(...(await guarded('dead-letters.export', 'copies of dead letters', copies)))
    checks.push(...(await guarded('alerts', 'alerts', () => checkAlerts(pool))))
  }
  return checks
}

/** A step that cannot be taken is a finding like any other. */
async function guarded(
  id: string,
  title: string,
  step: () => Promise<readonly Check[]>,
): Promise<readonly Check[]> {
  try {
    return await step()
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return [
      {
        id,
        title,
        state: 'unknown',
        found: `could not be looked at: ${why}`,
        fix: 'Ask with an account that may read it, or bring the tables up to date: millrace migrate',
      },
    ]
  }
}

async function hasTables(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ there: boolean }>(
    `/* millrace:doctor-tables */ select to_regclass('millrace.position') is not null as there`,
  )
  return rows[0]?.there ?? false
}
