import type { TestContext } from 'node:test'
import { Admin } from '@platformatic/kafka'
import { connectOperator, type Operator } from '../../../src/app/operator.ts'
import {
  listGaps,
  planResolve,
  resolveConsumers,
  type Gap,
  type Resolution,
} from '../../../src/consumer/queries.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { eventually } from '../../support/wait.ts'
import { APPLICATION } from '../application.ts'
import type { ChaosRun } from '../chaos-run.ts'

/** Somebody who looks after Kafka, with a client that is not ours. */
export function kafkaAdmin(t: TestContext, brokers: readonly string[]): Admin {
  const admin = new Admin({ clientId: 'admin', bootstrapBrokers: [...brokers], retries: 0 })
  cleanup(t, async () => admin.close())
  return admin
}

/** The ids of the brokers that lead the partitions of a topic, by partition. */
export async function leadersOf(admin: Admin, topic: string): Promise<readonly number[]> {
  const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
  return topics.get(topic)?.partitions.map(({ leader }) => leader) ?? []
}

/** The gaps of a run that nobody has decided about, when there are so many. */
export async function gapsOf(run: ChaosRun, many: number): Promise<readonly Gap[]> {
  const gaps = await eventually(async () => {
    const open = await listGaps(run.pool, { application: APPLICATION, open: true })
    return open.length === many && open
  })
  return gaps as readonly Gap[]
}

/** An operator decides about all gaps of a run. */
export async function resolve(
  t: TestContext,
  run: ChaosRun,
  brokers: readonly string[],
  resolution: Resolution,
): Promise<void> {
  const operator: Operator = await connectOperator({
    database: run.operatorUrl,
    log: kafka({ brokers }),
    user: 'ana@chaos',
  })
  cleanup(t, () => operator.close())
  const plan = await planResolve(operator, { application: APPLICATION }, resolution)
  await resolveConsumers(operator, plan, { reason: 'chaos' })
}
