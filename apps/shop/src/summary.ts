import type { Figures } from './figures.ts'
import type { Rates } from './rates.ts'

/** How a piece of text looks. */
export type Look = 'plain' | 'bold' | 'dim' | 'green' | 'yellow' | 'red'

/** A line of the screen, in pieces. */
export type Line = readonly (readonly [text: string, look: Look])[]

/** What the live summary shows. */
export interface Scene {
  /** Undefined before the first figures. */
  readonly figures: Figures | undefined
  readonly rates: Rates
  /** What the shop is doing, when it is not its work. */
  readonly phase: string | undefined
  readonly upMs: number
  /** Rows in the file of purchases: one round. */
  readonly rows: number
  /** Purchases per second asked for. */
  readonly rate: number
  /** Undefined until it is open. */
  readonly database: string | undefined
  readonly mailbox: string
  /** Whether events are on Kafka, and go there through the outbox. */
  readonly kafka: boolean
}

/** From this width on there is room for a note beside each figure. */
const WIDE = 72
/** What waits for longer than this for Kafka waits for somebody, in milliseconds. */
const OLD_OUTBOX_MS = 10_000
const whole: Intl.NumberFormat = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** The live summary, line by line; nothing is cut yet. */
export function summary(scene: Scene, columns: number): readonly Line[] {
  const { figures, phase, upMs } = scene
  const title: Line = [
    ['millrace shop', 'bold'],
    [`  ${phase ?? `up ${duration(upMs)}`}`, phase === undefined ? 'dim' : 'yellow'],
  ]
  if (figures === undefined) return [title]
  return [
    title,
    ...notice(scene, figures),
    [],
    ...table(scene, figures, columns),
    [],
    ...places(scene),
    [],
    ...next(scene, figures, columns),
  ]
}

/** What is said of partitions that nobody reads until somebody has decided. */
export function haltedText(partitions: number): string {
  const some = partitions === 1 ? 'One partition is' : `${partitions} partitions are`
  return `${some} stopped until somebody decides, and nothing of them is read: npx millrace doctor`
}

function notice(
  { rate }: Scene,
  { database, purchases, partitionsHalted }: Figures,
): readonly Line[] {
  if (database === 'down') {
    return [
      [['The database cannot be reached. Nothing is lost: all goes on when it is back.', 'red']],
    ]
  }
  if (partitionsHalted > 0) return [[[haltedText(partitionsHalted), 'red']]]
  if (purchases > 0) return []
  const text =
    rate === 0
      ? 'No purchases yet, and --rate 0 lets none come: start with another rate.'
      : 'The tills open. Each purchase becomes an order, a commission and a mail.'
  return [[[text, 'dim']]]
}

function table(scene: Scene, figures: Figures, columns: number): readonly Line[] {
  const { rates, rows, kafka } = scene
  const { purchases, deadLetters, attemptsFailed, lag, backlog } = figures
  const { deadLettersOpen, deadLettersLastHour, deadLetterAgeMs, outbox, outboxAgeMs } = figures
  const row = (
    name: string,
    value: number | null,
    perSecond: string,
    note: string,
    look: Look,
  ): Line => [
    [name.padEnd(16), 'plain'],
    [(value === null ? '?' : whole.format(value)).padStart(11), look],
    [perSecond.padStart(10), 'dim'],
    ...(columns >= WIDE ? ([[`   ${note}`, 'dim']] as const) : []),
  ]
  const speed = (count: Parameters<Rates['perSecond']>[0]): string =>
    `${whole.format(rates.perSecond(count))}/s`
  const round = Math.floor(Math.max(0, purchases - 1) / rows) + 1
  const at = purchases === 0 ? 0 : ((purchases - 1) % rows) + 1
  const where = `round ${round}, row ${whole.format(at)} of ${whole.format(rows)}`
  return [
    row('purchases', purchases, speed('purchases'), where, 'bold'),
    row('events', figures.events, speed('events'), 'records in the log', 'plain'),
    row('handled', figures.handled, speed('handled'), 'records taken, per handler', 'plain'),
    row('jobs completed', figures.jobsCompleted, speed('jobsCompleted'), 'a mail each', 'plain'),
    row(
      'lag',
      lag,
      '',
      lag === null ? 'the log does not answer just now' : 'records not read yet',
      (lag ?? Infinity) > 1_000 ? 'yellow' : 'plain',
    ),
    ...(kafka
      ? [
          row(
            'outbox',
            outbox,
            '',
            outboxAgeMs === null
              ? 'nothing waits for Kafka'
              : `the oldest waits for ${duration(outboxAgeMs)}`,
            (outboxAgeMs ?? 0) > OLD_OUTBOX_MS ? 'yellow' : 'plain',
          ),
        ]
      : []),
    row('backlog', backlog, '', 'jobs not finished yet', backlog > 1_000 ? 'yellow' : 'plain'),
    row(
      'attempts failed',
      attemptsFailed,
      speed('attemptsFailed'),
      'tried again later',
      attemptsFailed > 0 ? 'yellow' : 'green',
    ),
    row(
      'dead letters',
      deadLetters,
      '',
      deadLetters > 0 ? 'purchases nobody can read, set aside' : 'a broken purchase will come soon',
      deadLetters > 0 ? 'red' : 'green',
    ),
    row(
      'of them open',
      deadLettersOpen,
      `${whole.format(deadLettersLastHour)}/h`,
      deadLetterAgeMs === null
        ? 'none waits for anybody'
        : `the oldest for ${duration(deadLetterAgeMs)}`,
      deadLettersOpen > 0 ? 'red' : 'green',
    ),
  ]
}

function places({ database, mailbox, figures }: Scene): readonly Line[] {
  return [
    [
      ['database  ', 'dim'],
      [database ?? '…', 'plain'],
    ],
    [
      ['mailbox   ', 'dim'],
      [`${mailbox}  `, 'plain'],
      [`${whole.format(figures?.mails ?? 0)} mails, a file each`, 'dim'],
    ],
  ]
}

function next({ phase }: Scene, { deadLetters }: Figures, columns: number): readonly Line[] {
  if (phase === 'stopped') return [[['npm start goes on where this stopped.', 'dim']]]
  const hint = (command: string, note: string): Line => [
    [command.padEnd(30), 'plain'],
    ...(columns >= WIDE ? ([[note, 'dim']] as const) : []),
  ]
  const letters =
    deadLetters > 0
      ? [
          hint('npx millrace dlq list', 'the dead letters, each with its reason'),
          hint('npx millrace dlq get latest', 'the newest of them, byte for byte'),
        ]
      : []
  return [
    [['What to try next, in another terminal:', 'dim']],
    ...letters,
    hint('npx millrace consumers list', 'who reads which topic, and how far'),
    hint('npx millrace jobs list', 'what is being done, and what is next'),
    [['Ctrl-C: finish what is on the way and stop. Twice: stop now.', 'dim']],
  ]
}

/** `75 s` as people say it. */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
