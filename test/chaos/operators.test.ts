import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import {
  listConsumers,
  pauseConsumers,
  planSeek,
  resumeConsumers,
  seekConsumers,
} from '../../src/consumer/queries.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import { isMillraceError } from '../../src/errors/millrace-error.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import { APPLICATION } from './application.ts'
import { ChaosRun, type ChaosWorker } from './chaos-run.ts'
import { ACTIONS, deadLetterOperators } from './dead-letter-operators.ts'

const ORDERS = 40

test('keeps every promise while operators seek, pause and resume under load, and processes are killed', async (t) => {
  const database = await testDatabase(t)
  const run = await ChaosRun.begin(t, {
    name: 'operators',
    database,
    workers: { batchRecords: 10, takeOverMs: 1_000, transactionTimeoutMs: 500 },
  })
  const url = new URL(database.url)
  url.searchParams.set('application_name', 'operator')
  const operator = await connectOperator({ database: url.href, user: 'ana@chaos' })
  cleanup(t, () => operator.close())
  const random = seededRandom(run.seed + 3)
  const workers: ChaosWorker[] = Array.from({ length: 3 }, () => run.worker())
  await Promise.all(workers.map((worker) => worker.ready()))
  await eventually(
    async () =>
      (await listConsumers(operator.pool, await operator.log(), { application: APPLICATION }))
        .length === 4,
  )
  let over = false
  const load = (async () => {
    while (!over) {
      await run.producer.produce(20)
      await sleep(50)
    }
  })()
  const moved = { back: 0, ahead: 0, refused: 0 }
  for (let order = 0; order < ORDERS; order += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(30 + random.next() * 150)
    const draw = random.next()
    if (draw < 0.65) await seekSome(operator, random, moved)
    else if (draw < 0.8) await pauseSome(operator, random)
    else {
      const at = Math.floor(random.next() * workers.length)
      workers[at] = await replace(run, workers[at] as ChaosWorker)
    }
  }
  over = true
  await load
  t.diagnostic(`moved ${JSON.stringify(moved)}`)
  assert.ok(moved.back > 0 && moved.ahead > 0, JSON.stringify(moved))
  // Whatever chance has done, one of each.
  await replace(run, workers[0] as ChaosWorker)
  await run.quiet(60_000)
  const dumps = await run.pass()
  assert.equal(dumps.moves.length, moved.back + moved.ahead)
})

test('keeps every promise while operators replay, edit, discard, retry, cancel, pause and abort, and processes are killed', async (t) => {
  const run = await deadLetterOperators(t)
  const { replays, letterTransitions: letters, actionTransitions: actions } = await run.pass()
  const seen = {
    actions: [...new Set(actions.map(({ action }) => action))].sort(),
    passed: replays.some(({ dryRun, counts }) => !dryRun && counts.passed > 0),
    failed: replays.some(({ dryRun, counts }) => !dryRun && counts.failed > 0),
    parked: letters.some(({ to }) => to === 'parked'),
    jobsOpenedAgain: letters.some(({ from, to }) => from === 'replayed' && to === 'open'),
    editedTogether: actions.some(
      ({ action, subject, count }) => action === 'dlq.edit' && subject === null && count > 1,
    ),
    editsReplayed: letters.some(({ to, revision }) => to === 'replayed' && revision > 0),
  }
  assert.deepEqual(seen, {
    actions: ACTIONS,
    passed: true,
    failed: true,
    parked: true,
    jobsOpenedAgain: true,
    editedTogether: true,
    editsReplayed: true,
  })
})

/** Moves one partition somewhere near to where it is. */
async function seekSome(
  operator: Operator,
  random: Random,
  moved: { back: number; ahead: number; refused: number },
): Promise<void> {
  const partition = Math.floor(random.next() * 4)
  const scope = { application: APPLICATION, topic: 'orders', partition }
  const [is] = await listConsumers(operator.pool, await operator.log(), scope)
  const offset = (is?.position ?? 0n) + BigInt(Math.floor(random.next() * 60) - 40)
  try {
    const plan = await planSeek(operator, scope, { offset: offset < 0n ? 0n : offset })
    const { moves } = await seekConsumers(operator, plan, { reason: 'chaos' })
    for (const { position, to } of moves) {
      if (to < position) moved.back += 1
      if (to > position) moved.ahead += 1
    }
  } catch (error) {
    // It was read past the place meanwhile: that is how it should be.
    if (!isMillraceError(error) || error.code !== 'E_CONSUMER_STATE') throw error
    moved.refused += 1
  }
}

async function pauseSome(operator: Operator, random: Random): Promise<void> {
  const partition = Math.floor(random.next() * 4)
  const scope =
    random.next() < 0.5
      ? { application: APPLICATION }
      : { application: APPLICATION, topic: 'orders', partition }
  await pauseConsumers(operator, scope, { reason: 'chaos' })
  await sleep(random.next() * 200)
  await resumeConsumers(operator, scope)
}

/** Kills a worker, and starts one in its place. */
async function replace(run: ChaosRun, worker: ChaosWorker): Promise<ChaosWorker> {
  const at = Date.now()
  worker.kill('SIGKILL')
  const next = run.worker()
  const { signal } = await worker.exited
  run.fault('SIGKILL', worker.name, at, {
    seen: signal === 'SIGKILL',
    text: `ended by ${signal}`,
  })
  return next
}
