import { PLACES_PER_DRAW } from '../jobs/insert.ts'
import { plainArray, textArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'
import type { ClaimedJob } from './claimed-job.ts'

/** What to claim, and as whom. */
export interface ClaimRequest {
  readonly queue: string
  /** Kinds that this process has code for: it asks for no others, so that none is swallowed while a deploy is under way. */
  readonly kinds: readonly string[]
  readonly limit: number
  readonly processId: string
  /** Made by the claimer, so that it knows the name of its claim even if the reply gets lost. */
  readonly token: string
}

/** The driver's defaults look up a parser per value; every column is wanted as the text it comes as. */
const AS_TEXT: { getTypeParser(): (value: string) => string } = { getTypeParser: () => asText }
function asText(value: string): string {
  return value
}

type Cells = (string | null)[]

const RETURNED =
  'j.id, j.kind, j.priority, j.place, j.attempt, j.max_attempts, j.args, j.meta, j.ctid, j.queue'

/**
 * Frontier, queue, kinds, limit, token, process. A queue's line of one priority is found in the index by the hash of both
 * (migration 0005).
 */
export const CLAIM: string = `/* millrace:job-claim */ with picked as materialized (
  select c.at from unnest($1::bigint[]) with ordinality f(place, ord)
  cross join lateral (
    select j.ctid as at from millrace.job j
    where j.state = 'available' and not j.suspect
      and hashtextextended(j.queue, j.priority) = hashtextextended($2, f.ord - 1)
      and j.queue = $2 and j.priority = (f.ord - 1)::smallint
      and j.place >= f.place and j.kind = any ($3::text[])
    order by j.place limit $4 for update skip locked
  ) c
  where (select set_config('synchronous_commit', 'off', true)) is not null
  limit $4
)
update millrace.job j
set state = 'executing', attempt = j.attempt + 1, token = $5, process_id = $6, attempted_at = n.at
from (select clock_timestamp() as at) n
where j.ctid = any (array(select at from picked))
returning ${RETURNED}`

/**
 * Claims up to `limit` jobs of a queue, by priority, then place, from the frontier on.
 *
 * Locking and limiting happen in a materialised CTE, for the planner may otherwise update more rows than the limit says.
 * The commit is asynchronous: a claim that is lost with the server leaves the job where it was, and its completion, which
 * waits for the disk, finds no such attempt. `set_config` is local to the statement's own transaction, so this works
 * behind a pooler too.
 */
export async function claimJobs(
  pool: Pool,
  request: ClaimRequest & { readonly frontier: readonly number[] },
): Promise<ClaimedJob[]> {
  const { rows } = await pool.query<Cells>({
    rowMode: 'array',
    types: AS_TEXT,
    text: CLAIM,
    values: [
      plainArray(request.frontier),
      request.queue,
      textArray(request.kinds),
      request.limit,
      request.token,
      request.processId,
    ],
  })
  return rows.map((cells) => decode(cells, request))
}

/**
 * Claims one suspect of any of the queues and marks it as started, durably: when this process ends before the job does,
 * the mark says who was running.
 */
export async function claimSuspect(
  pool: Pool,
  request: Omit<ClaimRequest, 'queue' | 'limit'> & { readonly queues: readonly string[] },
): Promise<ClaimedJob | undefined> {
  const { rows } = await pool.query<Cells>({
    rowMode: 'array',
    types: AS_TEXT,
    text: `/* millrace:job-claim-suspect */ with picked as materialized (
        select j.ctid as at from millrace.job j
        where j.state = 'available' and j.suspect and j.queue = any ($1::text[]) and j.kind = any ($2::text[])
        order by j.priority, j.place limit 1 for update skip locked
      )
      update millrace.job j
      set state = 'executing', attempt = j.attempt + 1, token = $3, process_id = $4,
        attempted_at = n.at, started_at = n.at
      from (select clock_timestamp() as at) n
      where j.ctid = any (array(select at from picked))
      returning ${RETURNED}`,
    values: [textArray(request.queues), textArray(request.kinds), request.token, request.processId],
  })
  return rows[0] === undefined ? undefined : decode(rows[0], request)
}

/** A place that has not been drawn yet: whatever is inserted from now on stands at it or behind. */
export async function readHorizon(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ next: string }>(
    `/* millrace:job-horizon */ select case when is_called then last_value + ${PLACES_PER_DRAW} else last_value end::text as next
     from millrace.job_place`,
  )
  return Number(rows[0]?.next)
}

function decode(
  cells: Cells,
  { token, processId }: { readonly token: string; readonly processId: string },
): ClaimedJob {
  return {
    id: cells[0] as string,
    kind: cells[1] as string,
    priority: Number(cells[2]),
    place: Number(cells[3]),
    attempt: Number(cells[4]),
    maxAttempts: Number(cells[5]),
    argsJson: cells[6] as string,
    metaJson: cells[7] as string | null,
    tid: cells[8] as string,
    queue: cells[9] as string,
    token,
    processId,
  }
}
