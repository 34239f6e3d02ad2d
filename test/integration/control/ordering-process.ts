// A process in which an operator gives one order, killed on the way. What it is to do stands in ORDERING, as JSON.
import { connectOperator } from '../../../src/app/operator.ts'
import type { OperatorActionName } from '../../../src/control/operator-action.ts'
import { setTrap } from '../../chaos/failpoints.ts'
import { ORDERS } from '../../support/operator-orders.ts'

/** What this process is told. */
export interface OrderingConfig {
  readonly url: string
  readonly action: OperatorActionName
  /** The failpoint at which it is killed. */
  readonly at: string
}

const { url, action, at } = JSON.parse(process.env['ORDERING'] ?? '') as OrderingConfig
setTrap({ name: at, count: 1, signal: 'SIGKILL' })
await using operator = await connectOperator({ database: url, user: 'ana@test' })
await ORDERS[action].give(operator)
