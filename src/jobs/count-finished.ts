import { METRICS } from '../counts/counts.ts'

/** Counts of a statement that moves jobs into the history, as its last parts: `done` has (queue, application, metric). */
export const COUNT_FINISHED: string = `sums as (
    select queue, application, metric, count(*) as n from done group by queue, application, metric
  ), counted as (
    insert into millrace.count_delta (metric, label, delta)
    select '${METRICS.jobsUnfinished}', queue, -n from sums
    union all select metric, queue, n from sums
    union all select '${METRICS.backlog}', application, -n from sums where application is not null
  )`
