// One process of an operator who works on dead letters and jobs, and holds consumers back, by chance. What it is to do stands
// in CHAOS_WORKER, as JSON; what it says are lines of JSON. A line on its standard input ends it, after a last replay of all
// that is left.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectOperator } from '../../src/app/operator.ts'
import { pauseConsumers, resumeConsumers } from '../../src/consumer/queries.ts'
import { seededRandom } from '../../src/core/random.ts'
import { editDeadLetters } from '../../src/dead-letter/edit-many.ts'
import { discardDeadLetters, editDeadLetter, seenSoFar } from '../../src/dead-letter/order.ts'
import { listDeadLetters, type DeadLetterSummary } from '../../src/dead-letter/queries.ts'
import { isMillraceError } from '../../src/errors/millrace-error.ts'
import { cancelJobs, type JobOrder } from '../../src/jobs/cancel.ts'
import { retryJobs } from '../../src/jobs/retry.ts'
import {
  changeReplay,
  getReplay,
  orderReplay,
  type ReplayChange,
  type ReplayOrder,
} from '../../src/replay/order.ts'
import { listReplays } from '../../src/replay/queries.ts'
import { APPLICATION } from './application.ts'
import { setTrap, type Trap } from './failpoints.ts'

/** What the operator is told. */
export interface OperatorConfig {
  readonly databaseUrl: string
  readonly seed: number
  readonly trap?: Trap
}

const config = JSON.parse(process.env['CHAOS_WORKER'] ?? '') as OperatorConfig
const say = (event: string, fields: object = {}): void => {
  console.log(JSON.stringify({ event, ...fields }))
}
setTrap(config.trap)
const operator = await connectOperator({ database: config.databaseUrl, user: 'ana@chaos' })
const random = seededRandom(config.seed)
const below = (n: number): number => Math.floor(random.next() * n)

/** What makes every handler skip a record, whatever was wrong with it. */
const HARMLESS = Buffer.from(JSON.stringify({ n: 1, key: 'edited', behaviour: 'quiet' }))

async function order(more: Partial<ReplayOrder> = {}): Promise<bigint> {
  const parked = random.next() < 0.3
  const maxReplays = 2 + below(3)
  const selection = { application: APPLICATION, ...(parked ? { parked } : {}) }
  return (await orderReplay(operator, { selection, maxReplays, ...more })).id
}

async function openLetters(limit: number): Promise<DeadLetterSummary[]> {
  const all = await listDeadLetters(operator.pool, { state: 'open', limit: 200 })
  return Array.from({ length: limit }, () => all[below(all.length)]).filter((one) => one != null)
}

/** One that is slow, so that something can be done to it while it is under way. */
async function change(...changes: ReplayChange[]): Promise<void> {
  const id = await order({ rate: 20 })
  for (const one of changes) {
    await sleep(below(300))
    await changeReplay(operator, id, one, { reason: 'chaos' })
  }
}

const why = (filter: string): JobOrder => ({ user: operator.user, filter, reason: 'chaos' })

const ORDERS: Readonly<Record<string, () => Promise<unknown>>> = {
  replay: () => order(),
  'dry run': () => order({ dryRun: true }),
  limited: () => order({ stopAfter: 3, canary: 10 }),
  async edit() {
    for (const { id, stage } of await openLetters(5)) {
      if (stage !== 'job') await editDeadLetter(operator, id, { value: HARMLESS, reason: 'chaos' })
    }
  },
  async 'edit many'() {
    const seen = await seenSoFar(operator.pool)
    // Some are no JSON, some have it already, and some are discarded jobs.
    const set = ['data.behaviour="quiet"', `data.n=${below(9)}`]
    const selection = { application: APPLICATION, parked: random.next() < 0.3 }
    await editDeadLetters(operator, selection, { change: { set }, reason: 'chaos', seen })
  },
  async discard() {
    const ids = (await openLetters(3)).map(({ id }) => id)
    const seen = await seenSoFar(operator.pool)
    const selection = { application: APPLICATION, ids }
    await discardDeadLetters(operator, selection, { reason: 'chaos', seen })
  },
  async retry() {
    const ids = (await openLetters(20)).flatMap(({ jobId }) => jobId ?? [])
    await retryJobs(operator, [...new Set(ids)].slice(0, 2), why('retry'))
  },
  async cancel() {
    const { rows } = await operator.pool.query<{ id: string }>(
      `select id from millrace.job where state in ('scheduled', 'retryable', 'executing') limit 2`,
    )
    const ids = rows.map(({ id }) => id)
    await cancelJobs(operator, ids, why('cancel'))
  },
  pause: () => change('pause', 'resume'),
  abort: () => change('abort'),
  async hold() {
    const scope = { application: APPLICATION, topic: 'orders', partition: below(4) }
    await pauseConsumers(operator, scope, { reason: 'chaos' })
    await sleep(below(100))
    await resumeConsumers(operator, scope)
  },
}

let over = false
void once(process.stdin.resume(), 'data').then(() => {
  over = true
})
// Whoever started it is gone, so nobody is left to end it.
process.stdin.once('end', () => process.exit(1))
const names = Object.keys(ORDERS)
for (let n = 0; !over; n += 1) {
  // One of each first, whatever the seed.
  const name = names[n] ?? (names[below(names.length)] as string)
  try {
    await ORDERS[name]?.()
  } catch (error) {
    // It was closed or had ended meanwhile: that is how it should be.
    if (!isMillraceError(error) || !/^E_(REPLAY|DLQ)_/.test(error.code)) throw error
  }
  say('ordered', { name })
  await sleep(below(100))
}
for (const { id, state } of await listReplays(operator.pool, { limit: 1_000 })) {
  if (state === 'paused' || state === 'stopped') await changeReplay(operator, id, 'abort')
}
// A hold that was ended in the middle.
await resumeConsumers(operator, { application: APPLICATION })
const last = await order()
for (;;) {
  const { state } = await getReplay(operator.pool, last)
  if (state !== 'running') break
  await sleep(50)
}
say('finished')
await operator.close()
process.exit(0)
