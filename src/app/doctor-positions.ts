import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'
import type { Operator } from './operator.ts'

/** Positions that are of another log than the one that is looked at. */
export interface ForeignPositions {
  readonly topicIds: readonly string[]
  readonly checks: readonly Check[]
}

interface TopicRow extends Record<string, unknown> {
  readonly topic: string
  readonly topic_id: string
  readonly in_table: boolean
  readonly positions: number
  readonly halted: number
}

/** The longest list of names that is shown. */
const SHOWN = 5

/**
 * Whether the positions are of this log. In another one every topic seems to have been deleted, or made anew, and whoever decided
 * about that would give up positions that are right.
 *
 * The table log makes ids of version 7, Kafka of version 4. Of two clusters only this can be told: one has none of the
 * topics. A log that does not answer is told by `checkLog`.
 */
export async function foreignPositions(operator: Operator): Promise<ForeignPositions> {
  const { pool, logKind } = operator
  const rows = await topicsOfPositions(pool)
  if (logKind === 'table') {
    const others = rows.filter(({ in_table: is, topic_id: id }) => !is && id[14] !== '7')
    return told(others, 'Kafka, and this is the table log')
  }
  const known = await topicIds(operator)
  if (known === undefined) return told([], '')
  const inTable = rows.filter(({ in_table: is }) => is)
  if (inTable.length > 0) return told(inTable, `the table log, and this is ${logKind}`)
  if (rows.some(({ topic_id: id }) => known.has(id))) return told([], '')
  const { checks, topicIds: ids } = told(
    rows,
    'another cluster, or all their topics were deleted: this one has none of them',
  )
  // One topic may as well have been made anew: then what its partitions say counts too.
  return { checks, topicIds: rows.length > 1 ? ids : [] }
}

async function topicsOfPositions(pool: Pool): Promise<TopicRow[]> {
  const { rows } = await pool.query<TopicRow>(
    `/* millrace:doctor-positions */ select p.topic, p.topic_id::text as topic_id,
       exists (select from millrace.topic t where t.id = p.topic_id) as in_table,
       count(*)::int as positions, count(p.halted)::int as halted
     from millrace.position p group by p.topic, p.topic_id order by p.topic, p.topic_id`,
  )
  return rows
}

async function topicIds(operator: Operator): Promise<ReadonlySet<string> | undefined> {
  const log = await operator.log().catch(() => undefined)
  const topics = await log?.topics().catch(() => undefined)
  return topics && new Set(topics.map(({ id }) => id))
}

function told(others: readonly TopicRow[], where: string): ForeignPositions {
  if (others.length === 0) return { topicIds: [], checks: [] }
  const sum = (of: 'positions' | 'halted'): number => others.reduce((n, row) => n + row[of], 0)
  const names = [...new Set(others.map(({ topic }) => topic))]
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  const positions = sum('positions')
  const halted = sum('halted')
  const are = (n: number): string => (n === 1 ? 'is' : 'are')
  const stopped = halted === 0 ? '' : `; ${halted} ${are(halted)} stopped`
  const check: Check = {
    id: 'log.positions',
    title: 'log of the positions',
    state: halted === 0 ? 'warning' : 'failure',
    found: `${positions} (${names.slice(0, SHOWN).join(', ')}${more}) ${are(positions)} of ${where}${stopped}`,
    fix: 'Name the log that this database was used with (--brokers, or log in the config), here and for the processes. Only where the move is meant: millrace consumers resolve.',
  }
  return { topicIds: others.map(({ topic_id: id }) => id), checks: [check] }
}
