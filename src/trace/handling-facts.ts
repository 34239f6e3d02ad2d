import { pauseOf, type Pause } from '../control/pauses.ts'
import { LIVE_PROCESSES_SQL } from '../process/heartbeat.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { HandlingFact } from './facts.ts'

/** Where records stand. */
export interface Place {
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
}

/** A record's place with the names that it takes to read it. */
export interface NamedPlace extends Place {
  readonly topic: string
}

/** Generations of a position that are looked back. */
const GENERATIONS = 20

interface Row extends Record<string, unknown> {
  readonly application: string
  readonly topic: string
  readonly topic_id: string
  readonly partition: number
  readonly at: string
  readonly next_offset: string
  readonly generation: number
  readonly halted: string | null
  readonly waiting: string | null
  readonly owned: boolean
  readonly b_generation: number | null
  readonly committed_at: Date | null
  readonly records: number
  readonly done: number
  readonly jobs: number
  readonly filtered: number
  readonly dead_lettered: number
  readonly filtered_by: Readonly<Record<string, number>>
}

/** What every application that reads these places made of them: one index step per application, generation and place. */
export async function handlingsOf(
  db: Queryable,
  places: readonly Place[],
  pauses: readonly Pause[],
): Promise<HandlingFact[]> {
  if (places.length === 0) return []
  const { rows } = await db.query<Row>(
    `/* millrace:trace-handlings */ select p.application, p.topic, p.topic_id, p.partition, u.at::text as at,
       p.next_offset::text as next_offset, p.generation, p.halted, p.waiting,
       coalesce(p.owner in (${LIVE_PROCESSES_SQL}), false) as owned,
       b.generation as b_generation, b.committed_at, b.records, b.done, b.jobs, b.filtered, b.dead_lettered, b.filtered_by
     from unnest($1::uuid[], $2::int[], $3::bigint[]) u(topic_id, partition, at)
     join millrace.position p on p.topic_id = u.topic_id and p.partition = u.partition
     left join lateral (
       select x.* from generate_series(greatest(0, p.generation - ${GENERATIONS}), p.generation) g(n)
       cross join lateral (
         select * from millrace.batch b
         where b.application = p.application and b.topic_id = p.topic_id and b.partition = p.partition
           and b.generation = g.n and b.first_offset <= u.at
         order by b.first_offset desc limit 1
       ) x where x.next_offset > u.at
     ) b on true
     order by p.application, b.generation`,
    [
      places.map(({ topicId }) => topicId),
      places.map(({ partition }) => partition),
      places.map(({ offset }) => offset),
    ],
  )
  const facts: HandlingFact[] = []
  for (const row of rows) {
    const place = {
      application: row.application,
      topic: row.topic,
      topicId: row.topic_id,
      partition: row.partition,
      offset: BigInt(row.at),
    }
    const none = { committedAt: null, counts: null, reason: null, behind: null }
    if (row.b_generation !== null) facts.push(handled(row, place, row.b_generation))
    const behind = BigInt(row.at) - BigInt(row.next_offset)
    if (behind < 0n) {
      if (row.b_generation === null)
        facts.push({ ...place, ...none, generation: row.generation, state: 'passed' })
    } else if (row.b_generation === null || row.b_generation < row.generation) {
      // Also of a position that was moved back: it will come to the record again.
      if (facts.some((one) => isSame(one, place) && one.state === 'waiting')) continue
      const reason = reasonOf(row, pauses)
      facts.push({
        ...place,
        ...none,
        generation: row.generation,
        state: 'waiting',
        reason,
        behind,
      })
    }
  }
  return facts
}

function isSame(one: HandlingFact, two: Place & { readonly application: string }): boolean {
  return (
    one.application === two.application &&
    one.topicId === two.topicId &&
    one.partition === two.partition &&
    one.offset === two.offset
  )
}

function handled(
  row: Row,
  place: Place & { readonly application: string; readonly topic: string },
  generation: number,
): HandlingFact {
  const { records, done, jobs, filtered } = row
  const counts = {
    records,
    done,
    jobs,
    filtered,
    deadLettered: row.dead_lettered,
    filteredBy: row.filtered_by,
  }
  const { committed_at: committedAt } = row
  return { ...place, generation, state: 'handled', committedAt, counts, reason: null, behind: null }
}

function reasonOf(row: Row, pauses: readonly Pause[]): string | null {
  if (row.halted !== null) return `stopped: ${row.halted}`
  const pause = pauseOf(pauses, row)
  if (pause !== undefined) return `paused by ${pause.by}: ${pause.reason}`
  if (!row.owned) return 'no live process reads it'
  return row.waiting
}
