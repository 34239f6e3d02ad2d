import assert from 'node:assert/strict'
import test from 'node:test'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import type { Behaviour } from '../application.ts'
import { ChaosRun } from '../chaos-run.ts'
import { count } from '../scenarios.ts'

const MB = 1_000_000
/** Sizes of records, and what becomes of those that can be decoded. Dead letters of jobs have the record's bytes too. */
const LARGE: readonly (readonly [number, Behaviour])[] = [
  [MB, 'plain'],
  [MB, 'job-hopeless'],
  [5 * MB, 'plain'],
  [20 * MB, 'plain'],
]
/** Of different partitions. */
const KEYS = ['large-1', 'large-2']

/** What an application is told to decode at most, and what it does by default. */
const LIMITS = [
  { told: undefined, limit: 1_048_576 },
  { told: 6 * MB, limit: 6 * MB },
] as const

/** To write that much takes a busy machine a while. Nobody dies here. */
const PATIENT = { takeOverMs: 120_000, heartbeatMs: 5_000, transactionTimeoutMs: 60_000 } as const

for (const { told, limit } of LIMITS) {
  const what = told === undefined ? 'the default limit' : `a limit of ${told} bytes`
  test(`sets aside whole what is larger than ${what}, and handles the rest of every partition`, async (t) => {
    const log = await sharedKafka()
    const run = await ChaosRun.begin(t, {
      name: `records larger than ${what}`,
      database: await testDatabase(t),
      log: { ...log, topicConfigs: { 'max.message.bytes': String(25 * MB) } },
      workers: { ...PATIENT, ...(told === undefined ? {} : { maxValueBytes: told }) },
    })
    const workers = [run.worker(), run.worker()]
    await Promise.all(workers.map((worker) => worker.ready()))
    await run.producer.produce(40)
    const at = Date.now()
    for (const key of KEYS) {
      for (const [bytes, behaviour] of LARGE) {
        await run.producer.produce(1, {
          key: () => key,
          bytes: () => bytes,
          behaviour: () => (bytes > limit ? 'too-large' : behaviour),
        })
      }
      await run.producer.produce(20)
    }
    const over = LARGE.map(([bytes]) => bytes).filter((bytes) => bytes > limit)
    const due = over.length * KEYS.length
    const setAside = async (): Promise<number> =>
      count(
        run,
        `select count(*)::int as n from millrace.dead_letter
         where stage = 'decode' and octet_length(value) = any($1)`,
        [over],
      )
    await eventually(async () => (await setAside()) >= due).catch(() => {
      // The fault's entry says that it was not seen.
    })
    const many = await setAside()
    run.fault('large records', run.topic, at, {
      seen: many === due,
      text: `${many} dead letters of ${over.join(' or ')} bytes`,
    })
    // All partitions go on, and not only those without such records.
    await run.producer.produce(60)
    await run.quiet(60_000)
    const { records, deadLetters, positions } = await run.pass()
    assert.equal(positions.length, 4)
    for (const { partition, topicId } of positions) {
      const places = records.filter((one) => one.partition === partition)
      assert.ok(
        places.length > LARGE.length,
        `${topicId}/${partition} has ${places.length} records`,
      )
    }
    assert.ok(deadLetters.some(({ stage }) => stage === 'job'))
  })
}
