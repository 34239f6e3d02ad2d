import { setTimeout as sleep } from 'node:timers/promises'
import { start, type LogFactory, type Logger, type Millrace } from 'millrace'
import { commissions } from './commissions/app.ts'
import type { Database } from './database.ts'
import { FigureReader, type Figures } from './figures.ts'
import { mailApplication } from './mail/app.ts'
import { MailServer } from './mail/mail-server.ts'
import { Mailbox } from './mail/mailbox.ts'
import { smtpSender } from './mail/smtp-sender.ts'
import { orders } from './orders/app.ts'
import type { Purchase } from './purchases.ts'
import { migrateServices } from './services.ts'
import { stayWithLog } from './tills/stay-with-log.ts'
import { TILL_TOPIC } from './tills/till-record.ts'
import { Tills } from './tills/tills.ts'

/** What the shop needs to run. */
export interface ShopEnvironment {
  readonly database: Database
  /** Where events are. Undefined: in the database. */
  readonly log: LogFactory | undefined
  /** Take the topics away first. */
  readonly reset: boolean
  readonly purchases: readonly Purchase[]
  readonly rate: number
  readonly mailboxDirectory: string
  readonly codeVersion: string
  readonly logger: Logger
  /** Told once a second, and for the last time with `last`. */
  readonly onFigures: (figures: Figures, last: boolean) => void
  /** Told where Prometheus finds the figures. */
  readonly onStarted: (metricsUrl: string | null) => void
  /** Aborted: drain, then return. */
  readonly signal: AbortSignal
}

const SECOND_MS = 1_000
/** How long draining goes on while there is progress, and without any. */
const DRAIN_MS = 15_000
const NO_PROGRESS_MS = 4_000
const LOOK_MS = 100
const STOP_MS = 5_000
/** After a crash the next start waits for this long before it takes over what was being read. */
const TAKE_OVER_MS = 10_000

const TOPICS = { [TILL_TOPIC]: { partitions: 6 }, orders: { partitions: 6 } }

/** Runs the shop until it is told to stop; gives the last figures. */
export async function runShop(env: ShopEnvironment): Promise<Figures> {
  const { database, purchases, rate, logger, onFigures, signal } = env
  const events = env.log === undefined ? {} : { log: env.log }
  // Those in the database went with it.
  if (env.reset && env.log !== undefined) await deleteTopics(database, env.log)
  await migrateServices(database.pool)
  await stayWithLog(database.pool, env.log === undefined ? 'Postgres' : 'Kafka')
  // Undone from the last to the first: what makes work ends before what does it.
  await using parts = new AsyncDisposableStack()
  const mailServer = new MailServer(new Mailbox(env.mailboxDirectory))
  const port = await mailServer.start()
  parts.defer(() => mailServer.stop())
  const sender = smtpSender(port)
  parts.defer(() => sender.close())
  const millrace = await start({
    database: database.pool,
    ...events,
    run: [orders, commissions, mailApplication(sender.send)],
    topics: TOPICS,
    codeVersion: env.codeVersion,
    takeOverMs: TAKE_OVER_MS,
    stopMs: STOP_MS,
    metrics: { port: 0 },
    logger,
  })
  parts.defer(() => millrace.stop())
  const tills = new Tills({
    millrace,
    purchases,
    rate,
    onTrouble: (error) => logger.warn({ error }, 'the tills cannot write; they try again'),
    onRecovery: () => logger.info({}, 'the tills write again'),
  })
  tills.start()
  parts.defer(() => tills.stop())
  env.onStarted(millrace.metricsUrl)

  const figures = new FigureReader(millrace, mailServer.mailbox)
  const ending = new AbortController()
  const ticking = tick(figures, database, onFigures, ending.signal)
  await aborted(signal)
  await tills.stop()
  await untilNothingIsOnTheWay(figures)
  ending.abort()
  await ticking
  return await lastFigures(millrace, figures, onFigures)
}

async function deleteTopics(database: Database, log: LogFactory): Promise<void> {
  await using millrace = await start({
    database: database.pool,
    log,
    queues: false,
    upkeep: false,
    relay: false,
  })
  for (const topic of Object.keys(TOPICS)) await millrace.log.deleteTopic(topic)
}

/** What was finished while stopping belongs to the last figures. */
async function lastFigures(
  millrace: Millrace,
  reader: FigureReader,
  onFigures: ShopEnvironment['onFigures'],
): Promise<Figures> {
  const before = (await reader.readWithin(SECOND_MS)) ?? reader.lastKnown()
  await millrace.stop()
  const after = await reader.readWithin(SECOND_MS)
  // A log that is closed cannot say how far it reaches.
  const last = after?.database === 'up' ? { ...after, lag: after.lag ?? before.lag } : before
  onFigures(last, true)
  return last
}

/** Shows the figures once a second, and brings back a database of our own that ended by itself. */
async function tick(
  reader: FigureReader,
  database: Database,
  onFigures: ShopEnvironment['onFigures'],
  signal: AbortSignal,
): Promise<void> {
  for (let due = performance.now(); !signal.aborted; ) {
    const read = await reader.readWithin(SECOND_MS - LOOK_MS)
    // Zeros that nobody has read would say that there is nothing left to do.
    if (read !== undefined || !reader.isStarting) {
      const figures = read ?? reader.lastKnown()
      onFigures(figures, false)
      if (figures.database === 'down') await database.revive()
    }
    const now = performance.now()
    // A slow reading takes the place of those that were due meanwhile.
    while (due <= now) due += SECOND_MS
    await sleep(due - now, undefined, { signal }).catch(() => undefined)
  }
}

/** Nothing is on its way any more. */
function isDone({ lag, backlog, outbox }: Figures): boolean {
  return lag === 0 && backlog === 0 && outbox === 0
}

/** Returns when all is read and done, or when nothing has moved for a while. */
async function untilNothingIsOnTheWay(reader: FigureReader): Promise<void> {
  const deadline = performance.now() + DRAIN_MS
  let moved = performance.now()
  let before = ''
  for (;;) {
    const figures = await reader.readWithin(SECOND_MS)
    const now = performance.now()
    if (figures?.database === 'up' && isDone(figures)) return
    const { lag, backlog, outbox, handled, jobsCompleted } = figures ?? reader.lastKnown()
    const progress = `${lag ?? '?'} ${backlog} ${outbox} ${handled} ${jobsCompleted}`
    if (progress !== before) moved = now
    before = progress
    if (now > deadline || now - moved > NO_PROGRESS_MS) return
    await sleep(LOOK_MS)
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}
