import { writeSync } from 'node:fs'
import { setFailpointHandler } from '../../src/core/failpoint.ts'

/** The failpoints of src that the sweep goes through. The sweep fails when src has others, or lacks one of these. */
export const SOURCE_FAILPOINTS = [
  'batch:prepare',
  'batch:applied',
  'batch:before-position',
  'batch:before-commit',
  'batch:after-commit',
  'transaction:before-commit',
  'transaction:after-commit',
  'job:claimed',
  'job:started',
  'job:suspect-claimed',
  'job:before-complete',
  'job:after-complete',
  'job:before-put-back',
  'job:after-put-back',
  'job:before-end',
  'job:after-end',
  'job:before-transaction-commit',
  'job:after-transaction-commit',
  'upkeep:rescued',
  'upkeep:staged',
] as const

/** The failpoints of src that relays pass; their sweep is one of its own. */
export const RELAY_FAILPOINTS = [
  'relay:fenced',
  'relay:opened',
  'relay:read',
  'relay:produced',
  'relay:committed',
  'relay:before-note',
  'relay:noted',
  'outbox:rotated',
  'outbox:before-empty',
] as const

/** The failpoints of src that replays pass; their sweep is one of its own. */
export const REPLAY_FAILPOINTS = [
  'replay:read',
  'replay:before-outcomes',
  'replay:before-commit',
  'replay:after-commit',
] as const

/** The failpoints of src that the flood brake passes; their sweep is one of its own. */
export const BRAKE_FAILPOINTS = ['brake:found', 'brake:stopped'] as const

/** The failpoint of src that the sender of alerts passes; its kill is among the tests of upkeep. */
export const ALERT_FAILPOINTS = ['alerts:sent'] as const

/** Places in the scenario's own handlers that the sweep goes through as well. */
export const HANDLER_FAILPOINTS = [
  'handler:applied',
  'handler:started',
  'handler:called',
  'handler:before-transaction',
  'handler:in-transaction',
] as const

/** What a worker is to do at which place. */
export interface Trap {
  readonly name: string
  /** At which passage, counted from 1. */
  readonly count: number
  /** A place that has to be passed before passages count. Default: none. */
  readonly behind?: string
  /** Or `block`: its event loop stands still for {@link blockMs}, and then goes on. */
  readonly signal: 'SIGKILL' | 'SIGSTOP' | 'block'
  readonly blockMs?: number
}

/**
 * Sends this process the trap's signal at its place, after saying so on standard output, and gives the function that
 * handlers call at places of their own. To be called before anything starts.
 */
export function setTrap(trap: Trap | undefined): (name: string) => void {
  let passages = 0
  let counts = trap?.behind === undefined
  const pass = (name: string): void => {
    if (name === trap?.behind) counts = true
    if (trap === undefined || name !== trap.name || !counts) return
    passages += 1
    if (passages !== trap.count) return
    writeSync(1, `${JSON.stringify({ event: 'trap', ...trap, at: Date.now() })}\n`)
    if (trap.signal !== 'block') process.kill(process.pid, trap.signal)
    // The signal may reach another thread first: this one goes no further before it is there.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, trap.blockMs ?? 250)
  }
  setFailpointHandler(pass)
  return pass
}
