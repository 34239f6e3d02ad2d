import { alertState } from '../alerts/queries.ts'
import type { ConsumerSummary } from '../consumer/queries.ts'
import { METRICS, readCounts, type Count, type Metric } from '../counts/counts.ts'
import {
  countDeadLetterGroups,
  readDeadLetterGroups,
  readOpenDeadLetters,
  type DeadLetterGroup,
  type GroupCounts,
  type OpenDeadLetters,
} from '../counts/dead-letter-groups.ts'
import { queueFigures, type QueueFigures } from '../jobs/queue-figures.ts'
import { summarizeOutbox, type OutboxSummary } from '../outbox/queries.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Labels, MetricFamily, Sample } from './exposition.ts'

/** Groups of dead letters that have figures of their own: those with most open ones. Bounds the number of series. */
const GROUPS_SHOWN = 20

/** What the database knows, over all processes. */
export interface DatabaseFigures {
  readonly counts: readonly Count[]
  readonly deadLetters: readonly OpenDeadLetters[]
  readonly groups: readonly DeadLetterGroup[]
  readonly groupCounts: readonly GroupCounts[]
  readonly queues: readonly QueueFigures[]
  readonly outbox: OutboxSummary
  readonly processes: number
  readonly upkeep: boolean
  readonly alertsWaiting: number
}

/** Reads what the database knows. Its cost does not grow with records, jobs or dead letters; a little with their causes. */
export async function readFigures(db: Queryable): Promise<DatabaseFigures> {
  const counts = await readCounts(db)
  const queues = counts.filter(({ metric }) => metric === METRICS.jobsUnfinished)
  return {
    counts,
    deadLetters: await readOpenDeadLetters(db),
    groups: await readDeadLetterGroups(db, GROUPS_SHOWN),
    groupCounts: await countDeadLetterGroups(db),
    queues: await queueFigures(
      db,
      queues.map(({ label }) => label),
    ),
    outbox: await summarizeOutbox(db),
    ...(await readFleet(db)),
    alertsWaiting: (await alertState(db))?.waiting ?? 0,
  }
}

async function readFleet(db: Queryable): Promise<Pick<DatabaseFigures, 'processes' | 'upkeep'>> {
  const { rows } = await db.query<{ processes: number; upkeep: boolean }>(
    `/* millrace:fleet-figures */ select
       (select count(*)::integer from millrace.process where expires_at > clock_timestamp()) as processes,
       exists (select from millrace.lease where name = 'upkeep' and expires_at > clock_timestamp()) as upkeep`,
  )
  return rows[0] as (typeof rows)[0]
}

/** What the database knows, as metrics. */
export function databaseFamilies(figures: DatabaseFigures): MetricFamily[] {
  const { counts, deadLetters, groups, groupCounts, queues, outbox } = figures
  const by = (metric: Metric, label: string): Sample[] =>
    counts
      .filter((count) => count.metric === metric)
      .map((count) => ({ labels: { [label]: count.label }, value: count.value }))
  const counter = (name: string, help: string, samples: readonly Sample[]): MetricFamily => ({
    name,
    type: 'counter',
    help,
    samples,
  })
  const ofApplications = (metric: Metric, more: Labels): Sample[] =>
    by(metric, 'application').map(({ labels, value }) => ({
      labels: { ...labels, ...more },
      value,
    }))
  const app = ({ application }: { readonly application: string | null }): Labels => ({
    application: application ?? '',
  })
  const group = (one: DeadLetterGroup): Labels => ({
    ...app(one),
    fingerprint: one.fingerprint ?? '',
  })
  const each = <T>(
    items: readonly T[],
    labels: (item: T) => Labels,
    value: (item: T) => number,
  ): Sample[] => items.map((item) => ({ labels: labels(item), value: value(item) }))
  const depths = queues.flatMap(({ queue, executing }): Sample[] => {
    const unfinished = counts.find(
      ({ metric, label }) => metric === METRICS.jobsUnfinished && label === queue,
    )
    const waiting = Math.max(0, (unfinished?.value ?? 0) - executing)
    return [
      { labels: { queue, state: 'executing' }, value: executing },
      { labels: { queue, state: 'waiting' }, value: waiting },
    ]
  })
  return [
    gauge(
      'millrace_dlq_open',
      'Open dead letters.',
      each(deadLetters, app, (d) => d.open),
    ),
    gauge(
      'millrace_dlq_parked',
      'Dead letters that have failed in as many replays as were allowed, and wait for somebody.',
      each(deadLetters, app, (d) => d.parked),
    ),
    gauge(
      'millrace_dlq_oldest_age_seconds',
      'How long the oldest open dead letter has been one; 0 when there is none.',
      each(deadLetters, app, (d) => seconds(d.oldestAgeMs)),
    ),
    counter(
      'millrace_dlq_dead_lettered_total',
      'Records and jobs that were set aside.',
      by(METRICS.deadLetters, 'application'),
    ),
    gauge(
      'millrace_dlq_group_open',
      `Open dead letters of one fingerprint, for the ${GROUPS_SHOWN} with most of them.`,
      each(groups, group, (g) => g.open),
    ),
    gauge(
      'millrace_dlq_group_oldest_age_seconds',
      `How long the oldest open dead letter of one fingerprint has been one, for the ${GROUPS_SHOWN} with most of them.`,
      each(groups, group, (g) => seconds(g.oldestAgeMs)),
    ),
    gauge(
      'millrace_dlq_group_last_hour',
      `Dead letters of one fingerprint set aside within the last hour, for the ${GROUPS_SHOWN} with most open ones.`,
      each(groups, group, (g) => g.lastHour),
    ),
    gauge(
      'millrace_error_groups',
      'Fingerprints of dead letters, by what is left of them: open, else parked, else closed (all replayed or discarded).',
      (['open', 'parked', 'closed'] as const).flatMap((status) =>
        each(
          groupCounts,
          (one) => ({ ...app(one), status }),
          (one) => one[status],
        ),
      ),
    ),
    counter(
      'millrace_replay_records_total',
      'What became of dead letters and past records in replays; dry runs do not count.',
      [
        ...ofApplications(METRICS.replayPassed, { outcome: 'passed' }),
        ...ofApplications(METRICS.replayFailed, { outcome: 'failed' }),
        ...ofApplications(METRICS.replaySkipped, { outcome: 'skipped' }),
      ],
    ),
    counter('millrace_records_total', 'What became of records, per record and handler.', [
      ...ofApplications(METRICS.recordsDone, { disposition: 'done' }),
      ...ofApplications(METRICS.recordsJobs, { disposition: 'jobs' }),
      ...ofApplications(METRICS.recordsFiltered, { disposition: 'filtered' }),
      ...ofApplications(METRICS.recordsDeadLettered, { disposition: 'dead-lettered' }),
    ]),
    gauge(
      'millrace_consumer_backlog',
      'Jobs not finished that an application made of records.',
      by(METRICS.backlog, 'application'),
    ),
    gauge(
      'millrace_queue_depth',
      'Jobs not finished: executing, or waiting for their turn, their time or their retry.',
      depths,
    ),
    gauge(
      'millrace_queue_oldest_age_seconds',
      'How long the first job in line has been due; 0 when none is.',
      each(
        queues,
        ({ queue }) => ({ queue }),
        (q) => seconds(q.firstDueAgeMs),
      ),
    ),
    counter('millrace_jobs_inserted_total', 'Jobs inserted.', by(METRICS.jobsInserted, 'queue')),
    counter('millrace_jobs_completed_total', 'Jobs completed.', by(METRICS.jobsCompleted, 'queue')),
    counter('millrace_jobs_cancelled_total', 'Jobs cancelled.', by(METRICS.jobsCancelled, 'queue')),
    counter('millrace_jobs_discarded_total', 'Jobs discarded.', by(METRICS.jobsDiscarded, 'queue')),
    counter(
      'millrace_job_attempts_failed_total',
      'Attempts of jobs that failed.',
      by(METRICS.attemptsFailed, 'queue'),
    ),
    counter(
      'millrace_events_published_total',
      'Records appended to the table log or the outbox.',
      by(METRICS.eventsPublished, 'topic'),
    ),
    gauge('millrace_outbox_pending', 'Records in the outbox not known to be in the log.', [
      {
        value: counts
          .filter(({ metric }) => metric === METRICS.outboxWaiting)
          .reduce((sum, { value }) => sum + value, 0),
      },
    ]),
    gauge('millrace_outbox_oldest_age_seconds', 'How long the oldest of them has waited.', [
      { value: seconds(outbox.ageMs) },
    ]),
    gauge('millrace_outbox_halted', 'Shards of the outbox stopped until somebody decides.', [
      { value: outbox.halted },
    ]),
    gauge('millrace_processes', 'Processes alive.', [{ value: figures.processes }]),
    gauge('millrace_upkeep_leader', 'Whether a process does the upkeep.', [
      { value: figures.upkeep ? 1 : 0 },
    ]),
    gauge(
      'millrace_alerts_waiting',
      'New fingerprints and stopped partitions that nobody has been told of yet.',
      [{ value: figures.alertsWaiting }],
    ),
  ]
}

/**
 * How far applications are, as metrics. What is not known is left out. `undefined`: the log has not answered in time.
 */
export function consumerFamilies(
  consumers: readonly ConsumerSummary[] | undefined,
): MetricFamily[] {
  const all = consumers ?? []
  // A topic that was made anew has positions of both until somebody decides, and a series is named by its labels.
  const places = Map.groupBy(all, (one) =>
    JSON.stringify([one.application, one.topic, one.partition]),
  )
  const each = (
    value: (same: readonly ConsumerSummary[]) => number | null | undefined,
  ): Sample[] => {
    const samples: Sample[] = []
    for (const same of places.values()) {
      const { application, topic, partition } = same[0] as ConsumerSummary
      const known = value(same)
      if (known === null || known === undefined) continue
      samples.push({ labels: { application, topic, partition: String(partition) }, value: known })
    }
    return samples
  }
  const most = (values: readonly (number | null)[]): number | null => {
    const known = values.filter((one) => one !== null)
    return known.length === 0 ? null : Math.max(...known)
  }
  const any = (is: (one: ConsumerSummary) => boolean): Sample[] =>
    each((same) => (same.some(is) ? 1 : 0))
  const unknown = all.some(({ lag, state }) => lag === null && state !== 'halted')
  return [
    gauge('millrace_log_up', 'Whether the log says how far it reaches.', [
      { value: consumers === undefined || unknown ? 0 : 1 },
    ]),
    gauge(
      'millrace_consumer_lag',
      'Records between the position and the end of the log.',
      each((same) => most(same.map(({ lag }) => (lag === null ? null : Number(lag))))),
    ),
    gauge(
      'millrace_consumer_held_back',
      'Records behind the end that an open transaction of their producer holds back.',
      each((same) =>
        most(same.map(({ heldBack }) => (heldBack === null ? null : Number(heldBack)))),
      ),
    ),
    gauge(
      'millrace_consumer_lag_time_seconds',
      'Age of the next record to read; 0 when there is none.',
      each((same) => {
        const ms = most(same.map(({ lagMs }) => lagMs))
        return ms === null ? null : ms / 1_000
      }),
    ),
    gauge(
      'millrace_consumer_paused',
      'Whether an operator holds it back.',
      any(({ pause }) => pause !== null),
    ),
    gauge(
      'millrace_consumer_halted',
      'Whether it is stopped until somebody decides.',
      any(({ state }) => state === 'halted'),
    ),
    gauge(
      'millrace_consumer_owned',
      'Whether a living process owns it.',
      any(({ owner }) => owner !== null),
    ),
  ]
}

function gauge(name: string, help: string, samples: readonly Sample[]): MetricFamily {
  return { name, type: 'gauge', help, samples }
}

function seconds(ms: number | null): number {
  return (ms ?? 0) / 1_000
}
