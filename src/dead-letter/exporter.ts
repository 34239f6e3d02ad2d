import { throwIfAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { thrownError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import { headersFromJson } from '../log/headers-json.ts'
import { writtenOf } from '../log/log-errors.ts'
import type { Log } from '../log/port.ts'
import { wakeLog } from '../log/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import type { Trace } from './dead-letter.ts'
import { deadTopicOf, exportRecord, type ExportedLetter } from './export-record.ts'

/** Options of {@link DeadLetterExporter}. */
export interface ExporterOptions {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly application: string
  /** Of the topic, where it is missing. Default 6. */
  readonly partitions?: number
  /** Time between two looks, in milliseconds. Default 1,000. */
  readonly intervalMs?: number
}

const BATCH = 200
const BATCH_BYTES = 4_194_304
/** First key of the lock that one exporter of an application holds at a time; the log's and the migrations' are others. */
const LOCK = 1_297_219_582
/** A log that does not answer must not keep a transaction open for long. */
const TRANSACTION_MS = 60_000

/**
 * From now on the application's dead letters are to be copied, or no more: until a process that copies them says otherwise.
 * Those that are there stay as they are.
 */
export async function setExport(pool: Queryable, application: string, on: boolean): Promise<void> {
  await pool.query(
    on
      ? `/* millrace:dead-letter-export-on */ insert into millrace.dead_letter_export (application) values ($1)
         on conflict do nothing`
      : '/* millrace:dead-letter-export-off */ delete from millrace.dead_letter_export where application = $1',
    [application],
  )
}

/**
 * Copies an application's dead letters to `<application>.dead`, in the order of their numbers, one process at a time.
 *
 * The copy and its mark are one transaction where the log is in the database: each once. Elsewhere the mark comes after the
 * copy: killed in between, a batch is copied again, under the same `millrace_dead-letter`. What the log does not take, and
 * never will, is marked as failed and said in the log lines, and the others go on. Where the topic is missing, it is made.
 *
 * As long as it runs, dead letters are to be copied, whatever a process that started later without the option has said.
 */
export class DeadLetterExporter {
  readonly #options: ExporterOptions
  readonly #loop: Loop
  /** How many at once; one, while the one that cannot be copied is searched for. */
  #batch = BATCH
  /** What the last turn set out to copy. */
  #tried: readonly DueLetter[] = []
  /** Why nothing could be copied, as it was said last. */
  #said: string | undefined

  constructor(options: ExporterOptions) {
    this.#options = options
    const { core, intervalMs = 1_000 } = options
    this.#loop = createLoop({
      clock: core.clock,
      intervalMs,
      turn: (signal) => this.#turn(signal),
      onError: (error) => this.#say(error),
    })
  }

  start(): void {
    this.#loop.start()
  }

  async stop(): Promise<void> {
    await this.#loop.stop()
  }

  async #turn(signal: AbortSignal): Promise<number | undefined> {
    throwIfAborted(signal)
    const { copied, error } = await this.#inTransaction((tx) => this.#copy(tx)).catch(
      (thrown: unknown): Copied => ({ copied: 0, error: thrownError(thrown) }),
    )
    if (copied > 0) this.#said = undefined
    if (error === undefined) {
      this.#batch = Math.min(BATCH, this.#batch * 2)
      return copied > 0 ? 0 : undefined
    }
    if (isMillraceError(error) && error.code === 'E_LOG_UNKNOWN_TOPIC') {
      await this.#makeTopic()
      return undefined
    }
    const [one, ...others] = this.#tried
    // What has failed before any was read is the fault of none.
    if (!isHopeless(error) || one === undefined) throw error
    this.#batch = 1
    // Whose fault it is, shows when they go one at a time.
    if (others.length > 0) return 0
    const marked = await this.#inTransaction((tx) => this.#giveUp(tx, one, error))
    return marked > 0 ? 0 : undefined
  }

  #inTransaction<T>(action: (tx: Transaction) => Promise<T>): Promise<T> {
    const { core, pool } = this.#options
    return transaction(pool, core, action, { timeoutMs: TRANSACTION_MS })
  }

  async #copy(tx: Transaction): Promise<Copied> {
    const { pool, log, application } = this.#options
    this.#tried = []
    if (!(await this.#isMine(tx))) return { copied: 0 }
    // A process of another version may have started since, and said no: in a deploy, whoever copies goes on.
    await setExport(tx, application, true)
    this.#tried = await findDue(tx, application, this.#batch)
    if (this.#tried.length === 0) return { copied: 0 }
    const letters = await readLetters(tx, this.#tried)
    try {
      const placed = await log.append(letters.map(exportRecord), log.transactional ? { tx } : {})
      if (log.transactional)
        tx.afterCommit(() => wakeLog(pool, new Set(placed.map(({ topicId }) => topicId))))
    } catch (error) {
      // What one of them, or a partition, keeps from being written does not hold back the others. Those that are there are
      // marked now: copied again with each attempt, they would fill the topic for as long as the trouble lasts.
      const written = writtenOf(error)
      const copied = letters.filter((_, index) => written.has(index))
      if (copied.length === 0) throw error
      await markCopied(tx, copied)
      const done = new Set(copied.map(({ id }) => String(id)))
      this.#tried = this.#tried.filter(({ id }) => !done.has(id))
      return { copied: copied.length, error: thrownError(error) }
    }
    await markCopied(tx, letters)
    return { copied: letters.length }
  }

  /**
   * Marks the one that was tried, and no other: the lock was given back since, so what is the first that is due may be another
   * by now. One that was discarded anew meanwhile has another error, and is tried again.
   */
  async #giveUp(tx: Transaction, { id, createdAt }: DueLetter, error: unknown): Promise<number> {
    const { core, application } = this.#options
    if (!(await this.#isMine(tx))) return 0
    const { rowCount } = await tx.query(
      `/* millrace:dead-letter-export-failed */ update millrace.dead_letter set exported = 'failed'
       where id = $1 and created_at = $2::timestamptz and exported = 'due'`,
      [id, createdAt],
    )
    const marked = rowCount ?? 0
    if (marked > 0) core.logger.warn({ application, id, error }, 'a dead letter cannot be copied')
    return marked
  }

  /** Somebody has deleted it, or nobody was allowed to make it before. */
  async #makeTopic(): Promise<void> {
    const { core, log, application, partitions } = this.#options
    const topic = deadTopicOf(application)
    await log.createTopic(topic, partitions === undefined ? {} : { partitions })
    core.logger.warn(
      { application, topic },
      'the topic for copies of dead letters was missing, and was made',
    )
  }

  /** Once for each reason: until it is over, it is the same with every turn. */
  #say(error: unknown): void {
    const { core, application } = this.#options
    const { message } = thrownError(error)
    const isNew = message !== this.#said
    this.#said = message
    core.logger[isNew ? 'warn' : 'debug'](
      { application, error },
      'dead letters could not be copied just now',
    )
  }

  async #isMine(tx: Transaction): Promise<boolean> {
    const { application } = this.#options
    const { rows } = await tx.query<{ mine: boolean }>(
      '/* millrace:dead-letter-export-lock */ select pg_try_advisory_xact_lock($1, hashtext($2)) as mine',
      [LOCK, application],
    )
    return rows[0]?.mine === true
  }
}

/** What became of a turn. */
interface Copied {
  readonly copied: number
  /** Why not all of those that were tried. */
  readonly error?: Error
}

/**
 * Whether it is for ever, and the dead letter's own fault: too large, a record that the topic never takes (without a key, where
 * it keeps the last of each), or a row that is none of ours.
 */
function isHopeless(error: unknown): boolean {
  if (isMillraceError(error)) {
    if (error.code === 'E_LOG_UNKNOWN_APPEND') return isHopeless(error.cause)
    const { kafka } = error.details
    return TOO_MUCH.has(error.code) || (typeof kafka === 'string' && NEVER_TAKEN.has(kafka))
  }
  if (typeof error !== 'object' || error === null) return false
  const { code } = error as { readonly code?: unknown }
  if (typeof code === 'string') return code.startsWith('22') || code.startsWith('54')
  return error instanceof TypeError || error instanceof SyntaxError || error instanceof RangeError
}

const TOO_MUCH: ReadonlySet<string> = new Set(['E_EVENT_TOO_LARGE', 'E_CONFIG_INVALID'])
/** As Kafka names what is wrong with the record, and not with the topic or the moment. */
const NEVER_TAKEN: ReadonlySet<string> = new Set(['INVALID_RECORD', 'INVALID_TIMESTAMP'])

interface Row extends Record<string, unknown> {
  id: string
  application: string
  handler: string
  stage: string
  topic: string | null
  partition: number | null
  offset: string | null
  record_timestamp: Date | null
  key: Buffer | null
  value: Buffer | null
  headers: string | null
  job_id: string | null
  kind: string | null
  args: string | null
  error: unknown
  attempts: number
  code_version: string | null
  fingerprint: string
  trace: Trace | null
  created_at: string
}

/** A dead letter that is to be copied. */
interface DueLetter extends Record<string, unknown> {
  readonly id: string
  /** To the microsecond, as the database writes it. */
  readonly createdAt: string
}

/** The first that are due; no more than the memory may hold, but one always. */
async function findDue(tx: Queryable, application: string, most: number): Promise<DueLetter[]> {
  const { rows } = await tx.query<DueLetter>(
    `/* millrace:dead-letter-due */ with page as (
       select id, created_at, coalesce(octet_length(value), 0) + coalesce(octet_length(key), 0)
         + coalesce(octet_length(headers::text), 0) + coalesce(octet_length(args::text), 0) as size
       from millrace.dead_letter where application = $1 and exported = 'due' order by dead_letter.id limit $2
     ), running as (
       select id, created_at, sum(size) over (order by id) - size as before from page
     )
     select id::text, created_at::text as "createdAt" from running where before < ${BATCH_BYTES} order by running.id`,
    [application, most],
  )
  return rows
}

async function markCopied(tx: Queryable, letters: readonly ExportedLetter[]): Promise<void> {
  await tx.query(
    // A discarded job that was retried and discarded again tells of the last time, which is still to be copied.
    `/* millrace:dead-letter-exported */ update millrace.dead_letter d set exported = 'done'
     from unnest($1::bigint[], $2::timestamptz[]) as copied (id, created_at)
     where d.id = copied.id and d.created_at = copied.created_at and d.exported = 'due'`,
    [letters.map(({ id }) => String(id)), letters.map(({ createdAt }) => createdAt)],
  )
}

async function readLetters(tx: Queryable, due: readonly DueLetter[]): Promise<ExportedLetter[]> {
  const { rows } = await tx.query<Row>(
    `/* millrace:dead-letter-to-copy */ select d.id::text, d.application, d.handler, d.stage, d.topic, d.partition,
       d."offset"::text as "offset", d.record_timestamp, d.key, d.value, d.headers::text as headers, d.job_id, d.kind,
       d.args::text as args, d.error, d.attempts, d.code_version, d.fingerprint, d.trace, d.created_at::text as created_at
     from millrace.dead_letter d where d.id = any ($1::bigint[]) order by d.id`,
    [due.map(({ id }) => id)],
  )
  return rows.map((row) => ({
    id: BigInt(row.id),
    application: row.application,
    handler: row.handler,
    stage: row.stage,
    topic: row.topic,
    partition: row.partition,
    offset: row.offset === null ? null : BigInt(row.offset),
    recordTimestamp: row.record_timestamp,
    key: row.key,
    value: row.value,
    headers: headersFromJson(row.headers),
    jobId: row.job_id,
    kind: row.kind,
    argsJson: row.args,
    error: row.error,
    attempts: row.attempts,
    codeVersion: row.code_version,
    fingerprint: row.fingerprint,
    trace: row.trace,
    createdAt: row.created_at,
  }))
}
