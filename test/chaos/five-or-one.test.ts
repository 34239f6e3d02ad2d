import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/core/random.ts'
import { placeOf, type Dumps } from '../support/checker/dumps.ts'
import { testDatabase } from '../support/database.ts'
import { ChaosRun, seedOf, type ChaosWorker } from './chaos-run.ts'

const RECORDS = 2_000
const KILLS = 12

test('gives the same result with one process, and with five that are killed at random', async (t) => {
  const seed = seedOf(t)
  const [alone, together] = await Promise.all([oneProcess(t, seed), fiveProcesses(t, seed)])
  assert.deepEqual(resultOf(together), resultOf(alone))
})

async function oneProcess(t: TestContext, seed: number): Promise<Dumps> {
  const run = await ChaosRun.begin(t, {
    name: 'one process',
    database: await testDatabase(t),
    seed,
    faultless: true,
  })
  run.worker({ concurrency: 8 })
  await run.producer.produce(RECORDS)
  await run.quiet(90_000)
  return run.pass()
}

async function fiveProcesses(t: TestContext, seed: number): Promise<Dumps> {
  const run = await ChaosRun.begin(t, {
    name: 'five processes',
    database: await testDatabase(t),
    seed,
    workers: { takeOverMs: 1_000 },
  })
  const random = seededRandom(seed + 1)
  const workers: ChaosWorker[] = Array.from({ length: 5 }, () => run.worker())
  const produced = run.producer.produce(RECORDS)
  for (let kills = 0; kills < KILLS; kills += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(300 + random.next() * 700)
    const victim = workers.splice(Math.floor(random.next() * workers.length), 1)[0] as ChaosWorker
    const at = Date.now()
    victim.kill('SIGKILL')
    const { signal } = await victim.exited
    run.fault('SIGKILL', victim.name, at, {
      seen: signal === 'SIGKILL',
      text: `ended by ${signal}`,
    })
    workers.push(run.worker())
  }
  await produced
  await run.quiet(90_000)
  return run.pass()
}

/** What a run came to, without what may differ: ids of jobs, attempts, who did it and when. */
function resultOf(dumps: Dumps): Readonly<Record<string, readonly string[]>> {
  const events = new Map(dumps.records.map((record) => [placeOf(record), record.id]))
  const ledger = dumps.effects.filter(({ source }) => source === 'record')
  const byKey = Map.groupBy(ledger, ({ key }) => key)
  return {
    records: dumps.records.map(({ id, key }) => `${id} ${key}`).sort(),
    effects: dumps.effects.map(({ name, eventId }) => `${name} ${eventId}`).sort(),
    jobs: dumps.jobs
      .map(({ kind, state, origin }) => `${kind} ${origin && events.get(placeOf(origin))} ${state}`)
      .sort(),
    deadLetters: dumps.deadLetters
      .map((letter) => `${letter.handler} ${letter.stage} ${events.get(placeOf(letter))}`)
      .sort(),
    order: [...byKey]
      .map(([key, effects]) => `${key}: ${effects.map(({ eventId }) => eventId).join()}`)
      .sort(),
  }
}
