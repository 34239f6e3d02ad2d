import type { Queryable } from '../postgres/queryable.ts'

/** What is to be copied of an application's dead letters, and is not yet. */
export interface DueExports extends Record<string, unknown> {
  readonly application: string
  /** Whether new ones are copied as well. */
  readonly isOn: boolean
  /** How many; counted up to one more than {@link MOST_DUE}. */
  readonly due: number
  /** Null: none. */
  readonly oldest: Date | null
  /** Whether that is longer ago than a copy takes. */
  readonly isOld: boolean
}

/** Up to here they are counted. */
export const MOST_DUE = 10_000

/** Of the applications whose dead letters are copied, and of those that have left some behind; by name. */
export async function readDueExports(db: Queryable): Promise<DueExports[]> {
  const { rows } = await db.query<DueExports>(
    // From one application to the next in the index: there may be many that are due.
    `/* millrace:dead-letter-due-exports */ with recursive due (application) as (
       select min(application) from millrace.dead_letter where exported = 'due'
       union all
       select (select min(d.application) from millrace.dead_letter d
               where d.exported = 'due' and d.application > due.application)
       from due where due.application is not null
     ), known (application) as (
       select application from due where application is not null
       union select application from millrace.dead_letter_export
     )
     select k.application, exists (select from millrace.dead_letter_export e where e.application = k.application) as "isOn",
       c.due, c.oldest, coalesce(c.oldest < clock_timestamp() - interval '1 minute', false) as "isOld"
     from known k, lateral (
       select count(*)::int as due, min(p.created_at) as oldest from (
         select d.created_at from millrace.dead_letter d
         where d.exported = 'due' and d.application = k.application order by d.id limit ${MOST_DUE + 1}
       ) p
     ) c order by k.application`,
  )
  return rows
}
