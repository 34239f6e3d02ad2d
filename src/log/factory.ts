import type { Core } from '../core/core.ts'
import type { Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Log } from './port.ts'

/** Makes a log when millrace starts. `tableLog()` is the default. */
export interface LogFactory {
  readonly kind: string
  open(environment: {
    readonly core: Core
    readonly pool: Pool
    readonly listener?: Listener
  }): Log | Promise<Log>
}
