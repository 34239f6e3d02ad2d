import assert from 'node:assert/strict'
import test from 'node:test'
import {
  AclOperations,
  AclPermissionTypes,
  ResourcePatternTypes,
  ResourceTypes,
  type Acl,
} from '@platformatic/kafka'
import { testDatabase } from '../../support/database.ts'
import { readToEnd } from '../../support/kafka-reading.ts'
import { testKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import type { Behaviour } from '../application.ts'
import { ChaosRun } from '../chaos-run.ts'
import { kill } from '../many-processes.ts'
import { count } from '../scenarios.ts'
import { kafkaAdmin } from './operating.ts'

const TOPIC = 'chaos.dead'
const REFUSED = 'dead letters could not be copied just now'
const MADE = 'the topic for copies of dead letters was missing, and was made'

const BEHAVIOURS: readonly Behaviour[] = ['plain', 'apply-hopeless', 'plain', 'broken', 'misshapen']
const behaviour = (n: number): Behaviour => BEHAVIOURS[n % BEHAVIOURS.length] as Behaviour

test('keeps every dead letter while their topic may not be written to or is deleted, and copies them when it can', async (t) => {
  // Everybody is let in, and may do what nothing is said about.
  const { brokers } = await testKafka(t, {
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'allow.everyone.if.no.acl.found': 'true',
    },
  })
  const run = await ChaosRun.begin(t, {
    name: 'no topic for dead letters',
    database: await testDatabase(t),
    log: { brokers, deliveryTimeoutMs: 1_000 },
    partitions: 2,
    workers: { exportDeadLetters: true },
  })
  const admin = kafkaAdmin(t, brokers)
  const letters = async (exported: string): Promise<number> =>
    count(run, `select count(*)::int as n from millrace.dead_letter where exported = '${exported}'`)
  const { log } = run.millrace
  const first = run.worker({ name: 'first' })
  await first.ready()
  await run.producer.produce(30, { behaviour })
  const copiedBefore = await eventually(async () => {
    const copied = await letters('done')
    return copied >= 18 && (await letters('due')) === 0 && copied
  })

  const mayNot: Acl = {
    resourceType: ResourceTypes.TOPIC,
    resourceName: TOPIC,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: 'User:ANONYMOUS',
    host: '*',
    operation: AclOperations.WRITE,
    permissionType: AclPermissionTypes.DENY,
  }
  let at = Date.now()
  await admin.createAcls({ creations: [mayNot] })
  await run.producer.produce(30, { behaviour })
  await eventually(() => first.logged(REFUSED) > 0)
  await kill(run, first)
  const second = run.worker({ name: 'second' })
  await run.producer.produce(30, { behaviour })
  // The application goes on with everything else.
  await eventually(async () => (await run.unread()) === 0)
  await eventually(() => second.logged(REFUSED) > 0)
  const held = await letters('due')
  run.fault('refused', 'topic of dead letters', at, {
    seen: held >= 36 && (await letters('done')) === copiedBefore,
    text: `${held} wait, ${copiedBefore} were copied before`,
  })
  await admin.deleteAcls({ filters: [mayNot] })
  await eventually(async () => (await letters('due')) === 0)

  at = Date.now()
  const old = await log.topic(TOPIC)
  await log.deleteTopic(TOPIC)
  const before = await count(run, 'select max(id)::int as n from millrace.dead_letter')
  await run.producer.produce(30, { behaviour })
  await eventually(() => second.logged(MADE) > 0)
  const made = await eventually(() => log.topic(TOPIC))
  run.fault('deleted', 'topic of dead letters', at, {
    seen: old !== undefined && made !== undefined && made.id !== old.id,
    text: `${made?.id} in place of ${old?.id}`,
  })
  await run.quiet(60_000)
  await eventually(async () => (await letters('due')) === 0)
  assert.equal(await letters('failed'), 0)
  await run.pass()

  const parts = Array.from({ length: made?.partitions ?? 0 }, (_, part) =>
    readToEnd(log, made as NonNullable<typeof made>, 0n, part),
  )
  const copies = new Set(
    (await Promise.all(parts)).flatMap(({ records }) =>
      records.map(({ headers }) =>
        Number(headers.find(([name]) => name === 'millrace_dead-letter')?.[1]),
      ),
    ),
  )
  const { rows } = await run.pool.query<{ id: number }>(
    'select id::int from millrace.dead_letter where id > $1',
    [before],
  )
  assert.ok(rows.length >= 18)
  assert.deepEqual(
    rows.filter(({ id }) => !copies.has(id)),
    [],
  )
})
