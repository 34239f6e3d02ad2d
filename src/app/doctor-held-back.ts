import { listConsumers, type ConsumerSummary } from '../consumer/queries.ts'
import type { Check } from './check.ts'
import type { Operator } from './operator.ts'

/** A transaction that is open for longer than this holds its readers back, in milliseconds. */
const LONG_MS = 60_000
/** Time between two looks, in milliseconds: a transaction may as well have begun just now. */
const AGAIN_MS = 1_500
/** The longest list of names that is shown. */
const SHOWN = 5

/**
 * Whether a producer's transaction that stays open keeps from everybody what was written since, by whomever. Their lag shows
 * nothing of that: nobody can be behind what is not decided. Tells of positions that have stood still for a minute, and
 * looks twice.
 */
export async function checkHeldBack(operator: Operator): Promise<Check[]> {
  const log = await operator.log()
  const look = async (): Promise<readonly ConsumerSummary[]> => {
    const all = await listConsumers(operator.pool, log)
    const now = operator.core.clock.now().getTime()
    return all.filter(
      ({ heldBack, lag, state, updatedAt }) =>
        (heldBack ?? 0n) > 0n &&
        lag === 0n &&
        state === 'reading' &&
        now - updatedAt.getTime() > LONG_MS,
    )
  }
  const first = await look()
  if (first.length === 0) return []
  await operator.core.clock.sleep(AGAIN_MS)
  const ends = new Map(first.map((one) => [placeOf(one), one.end]))
  const stuck = (await look()).filter((one) => ends.get(placeOf(one)) === one.end)
  const places = [...new Set(stuck.map(placeOf))]
  const [one] = stuck
  if (one === undefined) return []
  const more = places.length > SHOWN ? ` and ${places.length - SHOWN} more` : ''
  return [
    {
      id: 'log.open-transactions',
      title: 'open transactions',
      state: 'warning',
      found: `a transaction of a producer is open in ${places.slice(0, SHOWN).join(', ')}${more}: nobody can read what was written since, ${String(one.heldBack)} records in ${placeOf(one)}`,
      fix: 'It ends with its time-out, at the latest. Where it does not: kafka-transactions.sh find-hanging and abort (Kafka), pg_stat_activity (table log).',
    },
  ]
}

function placeOf({ topic, partition }: ConsumerSummary): string {
  return `${topic}/${partition}`
}
