import { systemClock, type Clock } from './clock.ts'
import { createIds, type Ids } from './ids.ts'
import { silentLogger, type Logger } from './logger.ts'
import { systemRandom, type Random } from './random.ts'

/** What every component takes instead of reaching for the machine: time, chance, ids, and a place to log. */
export interface Core {
  readonly clock: Clock
  readonly random: Random
  readonly ids: Ids
  readonly logger: Logger
}

/** A `Core` with the machine's own parts where none are given. */
export function createCore(parts: Partial<Core> = {}): Core {
  const clock = parts.clock ?? systemClock
  const random = parts.random ?? systemRandom
  return {
    clock,
    random,
    ids: parts.ids ?? createIds(clock, random),
    logger: parts.logger ?? silentLogger,
  }
}
