import type { Core } from '../core/core.ts'
import { METRICS, type CountChange } from '../counts/counts.ts'
import { plainArray, textArray, uuidArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { statement } from '../postgres/statement.ts'
import { transaction } from '../postgres/transaction.ts'
import type { NewJob } from './new-job.ts'
import type { JobWaker, QueueWake } from './wake.ts'

/** What an insert gave. */
export interface InsertedJobs {
  /** Ids, in the order given. */
  readonly ids: readonly string[]
  /** What to wake, once it has been committed: queues of jobs without a due time, and a place that none of theirs is below. */
  readonly wakes: readonly QueueWake[]
}

/** That jobs are executing from the moment they exist: who claims them, and under which token. */
export interface InsertClaim {
  readonly token: string
  readonly processId: string
}

/** Where a job stands: in its line, and on the disk. */
export interface InsertedPlace {
  readonly place: number
  readonly tid: string
}

/**
 * Inserts jobs in the caller's transaction, with the counts they change, by a statement for about each thousand.
 * Nobody is woken: give `wakes` to a `JobWaker` after the commit, or leave the jobs to be polled for, which takes up to a second.
 */
export async function insertJobs(db: Queryable, jobs: readonly NewJob[]): Promise<InsertedJobs> {
  return insertParts(db, partsOf(jobs))
}

/** Each part is made ready while the server is at the one before. */
async function insertParts(
  db: Queryable,
  parts: Iterable<readonly NewJob[]>,
): Promise<InsertedJobs> {
  const ids: string[] = []
  // Places grow: the lowest of a queue is in the first part that has the queue.
  const wakes = new Map<string, QueueWake>()
  let before: Promise<readonly QueueWake[]> | undefined
  const answered = async (): Promise<void> => {
    for (const wake of (await before) ?? []) if (!wakes.has(wake.queue)) wakes.set(wake.queue, wake)
  }
  try {
    for (const jobs of parts) {
      const { text, values } = insertStatement(jobs)
      await answered()
      before = db
        .query<{ drawn: string }>(text, values)
        .then(({ rows }) => wakesOf(jobs, drawsOf(rows[0])[0] as number))
      for (const { id } of jobs) ids.push(id)
    }
  } finally {
    // Also where the next part could not be made: nothing is under way any more when this has ended.
    await answered()
  }
  return { ids, wakes: [...wakes.values()] }
}

/** Jobs of one statement each. More would not make it faster, and hold up the event loop for longer. */
function* partsOf(jobs: Iterable<NewJob>): Generator<readonly NewJob[], void> {
  let part: NewJob[] = []
  for (const job of jobs) {
    if (part.length === PLACES_PER_DRAW) {
      yield part
      part = []
    }
    part.push(job)
  }
  if (part.length > 0) yield part
}

/**
 * Inserts jobs, none of them with a due time, that are claimed by `claim` as soon as the caller's transaction commits: no
 * worker looks for them, nobody is to be woken, and the row is written once instead of twice.
 */
export async function insertClaimedJobs(
  db: Queryable,
  jobs: readonly NewJob[],
  claim: InsertClaim,
): Promise<readonly InsertedPlace[]> {
  if (jobs.length === 0) return []
  const { text, values } = insertStatement(jobs, claim)
  const { rows } = await db.query<{ drawn: string; tids: string }>(text, values)
  const draws = drawsOf(rows[0])
  const tids = rows[0]?.tids.split(' ') ?? []
  return tids.map((tid, index) => {
    const drawn = draws[Math.floor(index / PLACES_PER_DRAW)] as number
    return { place: drawn + (index % PLACES_PER_DRAW), tid }
  })
}

/** Those with a due time are staged when it has come; one that is due already is polled for. */
function wakesOf(jobs: readonly NewJob[], place: number): QueueWake[] {
  const queues = new Set<string>()
  for (const job of jobs) if (!isScheduled(job)) queues.add(job.queue)
  return [...queues].map((queue) => ({ queue, place }))
}

function isScheduled({ scheduledAt, scheduleInMs }: NewJob): boolean {
  return scheduledAt !== null || scheduleInMs !== null
}

/**
 * Inserts jobs, all or none, and wakes their queues: by one statement that commits itself, or, where they are more than a
 * thousand, by several in a transaction. An iterable may make the jobs as they are asked for; those of the first two
 * statements are asked for at once. A reply that gets lost is resolved by looking for the jobs themselves, finished ones
 * included.
 * @throws E_DB_UNKNOWN_COMMIT if that is impossible; the same jobs must then not be inserted again blindly.
 * @throws what the iterable throws; nothing is inserted then.
 */
export async function insertJobsNow(
  {
    core,
    pool,
    waker,
  }: { readonly core: Core; readonly pool: Pool; readonly waker: Pick<JobWaker, 'wake'> },
  jobs: Iterable<NewJob>,
): Promise<readonly string[]> {
  const parts = partsOf(jobs)
  const first = parts.next().value
  if (first === undefined) return []
  const second = parts.next().value
  const committed = (db: Queryable): Promise<boolean> => isKnown(db, (first[0] as NewJob).id)
  if (second !== undefined) {
    const all = concat([first, second], parts)
    const inserted = await transaction(pool, core, (tx) => insertParts(tx, all), { committed })
    waker.wake(inserted.wakes)
    return inserted.ids
  }
  const inserted = await statement(pool, core, (db) => insertJobs(db, first), committed)
  // Their places went away with the reply: the lines are looked through from their beginning.
  waker.wake(inserted?.wakes ?? wakesOf(first, 0))
  return first.map(({ id }) => id)
}

function* concat<T>(...iterables: readonly Iterable<T>[]): Generator<T, void> {
  for (const one of iterables) yield* one
}

/** Whether there is, or was, a job with this id. Jobs of one insert are there together or not at all. */
async function isKnown(db: Queryable, id: string): Promise<boolean> {
  const { rows } = await db.query<{ known: boolean }>(
    `/* millrace:job-known */ select exists (select from millrace.job where id = $1)
       or exists (select from millrace.job_history where id = $1) as known`,
    [id],
  )
  return rows[0]?.known ?? false
}

interface Column {
  readonly name: string
  readonly type: string
  readonly of: (job: NewJob) => string | number | null
  /** The array literal of the column, when its values differ. */
  readonly array: (values: readonly (string | number | null)[]) => string
}

const text = (values: readonly (string | number | null)[]): string =>
  textArray(values as readonly (string | null)[])
const plain = (values: readonly (string | number | null)[]): string =>
  plainArray(values.map((value) => value ?? 'NULL'))

/** Columns that mostly have one value for all: then it is passed once. */
const COLUMNS: readonly Column[] = [
  { name: 'kind', type: 'text', of: (job) => job.kind, array: text },
  { name: 'queue', type: 'text', of: (job) => job.queue, array: text },
  { name: 'priority', type: 'smallint', of: (job) => job.priority, array: plain },
  { name: 'max_attempts', type: 'smallint', of: (job) => job.maxAttempts, array: plain },
  { name: 'max_crashes', type: 'smallint', of: (job) => job.maxCrashes, array: plain },
  { name: 'application', type: 'text', of: (job) => job.application, array: text },
]

const META: Column = { name: 'meta', type: 'text', of: (job) => job.metaJson, array: text }

const DUE_AT: Column = {
  name: 'due_at',
  type: 'timestamptz',
  of: (job) => job.scheduledAt?.toISOString() ?? null,
  array: text,
}
const DUE_IN: Column = {
  name: 'due_in_ms',
  type: 'double precision',
  of: (job) => job.scheduleInMs,
  array: plain,
}

/** How many places in line, one behind the other, a draw of the sequence `job_place` gives: its increment. */
export const PLACES_PER_DRAW = 1_024

/** The first places of an insert's draws, which come as `12`, or as `{12,1036}`. */
function drawsOf(row: { readonly drawn: string } | undefined): number[] {
  return (row?.drawn ?? '').replace(/[{}]/g, '').split(',').map(Number)
}

/**
 * The statement for these jobs. Args travel as one text with a line per job: JSON of ours has no line break in it, and to
 * split a text is cheaper for both sides than to quote and unquote an array literal.
 *
 * It gives what was drawn of the sequence of places, of which one draw gives many: to draw a place for each job cost a tenth
 * more, to return them all a quarter. With `claim` also where the rows are, in the order of the jobs: a wrong order would
 * cost look-ups, and nothing else, for what finishes a job names its id and token.
 */
function insertStatement(
  jobs: readonly NewJob[],
  claim?: InsertClaim,
): { text: string; values: (string | Buffer)[] } {
  const values: (string | Buffer)[] = []
  const sources: string[] = []
  const names: string[] = []
  const pass = (value: string | Buffer): string => `$${values.push(value)}`
  const add = (name: string, source: string): void => {
    sources.push(source)
    names.push(name)
  }
  add('id', `unnest(${pass(uuidArray(jobs.map(({ id }) => id)))}::uuid[])`)
  add('args', `string_to_table(${pass(jobs.map(({ argsJson }) => argsJson).join('\n'))}, E'\\n')`)

  const expression = ({ name, type, of, array }: Column): string => {
    const column = jobs.map(of)
    const one = column[0] as string | number | null
    if (column.every((value) => value === one)) {
      return one === null ? `null::${type}` : `${pass(String(one))}::${type}`
    }
    add(name, `unnest(${pass(array(column))}::${type}[])`)
    return `u.${name}`
  }
  // Texts that differ late: what they all begin with is passed once, the rest as lines.
  const linesExpression = (column: Column): string => {
    const lines: string[] = []
    for (const job of jobs) {
      const line = column.of(job)
      if (typeof line !== 'string') return expression(column)
      lines.push(line)
    }
    if (lines.every((line) => line === lines[0])) return expression(column)
    const common = commonPrefix(lines)
    add(
      column.name,
      `string_to_table(${pass(lines.map((line) => line.slice(common)).join('\n'))}, E'\\n')`,
    )
    return `${pass(lines[0]?.slice(0, common) ?? '')}::text || u.${column.name}`
  }
  const columns = COLUMNS.map((column): [string, string] => [column.name, expression(column)])
  const meta = linesExpression(META)
  const scheduled = jobs.some(isScheduled)
  const due = scheduled
    ? `coalesce(${expression(DUE_AT)}, n.at + ${expression(DUE_IN)} * interval '1 millisecond', n.at)`
    : 'n.at'
  const counts = countChanges(jobs)
  const draw = "nextval('millrace.job_place')"
  const draws = Math.ceil(jobs.length / PLACES_PER_DRAW)
  const [drawn, place] =
    draws === 1
      ? [draw, 'n.drawn + u.ord - 1']
      : [
          `array(select ${draw} from generate_series(1, ${draws}))`,
          `n.drawn[(u.ord - 1) / ${PLACES_PER_DRAW} + 1] + (u.ord - 1) % ${PLACES_PER_DRAW}`,
        ]
  let state = scheduled
    ? `case when ${due} > n.at then 'scheduled' else 'available' end`
    : "'available'"
  if (claim !== undefined) {
    state = "'executing'"
    columns.push(
      ['attempt', '1'],
      ['attempted_at', 'n.at'],
      ['token', `${pass(claim.token)}::uuid`],
      ['process_id', `${pass(claim.processId)}::uuid`],
    )
  }

  return {
    values,
    text: `/* millrace:job-insert */ with n as materialized (
      select clock_timestamp() as at, ${drawn} as drawn
    ), inserted as (
      insert into millrace.job (id, place, args, state, scheduled_at, created_at, meta, ${columns.map(([name]) => name).join(', ')})
      select u.id, ${place}, u.args::json, ${state},
        ${due}, n.at, ${meta}, ${columns.map(([, source]) => source).join(', ')}
      from n, rows from (${sources.join(', ')}) with ordinality as u(${names.join(', ')}, ord)${claim === undefined ? '' : ' returning ctid'}
    ), counted as (
      insert into millrace.count_delta (metric, label, delta)
      select * from unnest(${pass(textArray(counts.map(({ metric }) => metric)))}::text[],
        ${pass(textArray(counts.map(({ label }) => label)))}::text[],
        ${pass(plainArray(counts.map(({ delta }) => delta)))}::bigint[])
    )
    select drawn::text${claim === undefined ? '' : ", (select string_agg(ctid::text, ' ') from inserted) as tids"} from n`,
  }
}

/** Length of what all texts begin with, in UTF-16 code units; never between the halves of a pair. */
export function commonPrefix(texts: readonly string[]): number {
  const first = texts[0] ?? ''
  let length = first.length
  for (const text of texts) {
    let same = 0
    while (same < length && text.charCodeAt(same) === first.charCodeAt(same)) same += 1
    length = same
  }
  if (length > 0 && /[\uD800-\uDBFF]/.test(first.charAt(length - 1))) length -= 1
  return length
}

function countChanges(jobs: readonly NewJob[]): CountChange[] {
  const queues = new Map<string, number>()
  const applications = new Map<string, number>()
  for (const { queue, application } of jobs) {
    queues.set(queue, (queues.get(queue) ?? 0) + 1)
    if (application !== null)
      applications.set(application, (applications.get(application) ?? 0) + 1)
  }
  const changes: CountChange[] = []
  for (const [label, delta] of queues) {
    changes.push({ metric: METRICS.jobsUnfinished, label, delta })
    changes.push({ metric: METRICS.jobsInserted, label, delta })
  }
  for (const [label, delta] of applications) {
    changes.push({ metric: METRICS.backlog, label, delta })
  }
  return changes
}
