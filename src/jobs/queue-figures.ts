import type { Queryable } from '../postgres/queryable.ts'

/** What a queue is about just now. */
export interface QueueFigures {
  readonly queue: string
  /** Jobs that processes hold: executing, or about to. */
  readonly executing: number
  /** How long the first in line has been due, over all priorities, in milliseconds. Null: none is due. */
  readonly firstDueAgeMs: number | null
}

/** Figures of queues, without counting: a walk over what is executing, and a look at the first of each priority. */
export async function queueFigures(
  db: Queryable,
  queues: readonly string[],
): Promise<QueueFigures[]> {
  const { rows } = await db.query<{ queue: string; executing: number; age_ms: number | null }>(
    `/* millrace:queue-figures */ select q.queue, coalesce(x.n, 0)::integer as executing,
       (extract(epoch from clock_timestamp() - f.due) * 1000)::float8 as age_ms
     from unnest($1::text[]) q(queue)
     left join (
       select queue, count(*) as n from millrace.job where state = 'executing' group by queue
     ) x on x.queue = q.queue
     left join lateral (
       select min(j.scheduled_at) as due from generate_series(0, 9) p(priority) cross join lateral (
         select c.scheduled_at from millrace.job c
         where c.state = 'available' and not c.suspect
           and hashtextextended(c.queue, c.priority) = hashtextextended(q.queue, p.priority)
           and c.queue = q.queue and c.priority = p.priority
         order by c.place limit 1
       ) j
     ) f on true
     order by q.queue`,
    [queues],
  )
  return rows.map(({ queue, executing, age_ms: ageMs }) => ({
    queue,
    executing,
    firstDueAgeMs: ageMs === null ? null : Math.max(0, Math.round(ageMs)),
  }))
}
