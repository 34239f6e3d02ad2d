/** Columns that a job takes along from the hot table into the history, unchanged. */
export const KEPT_COLUMNS =
  'id, kind, queue, priority, attempt, max_attempts, crashes, max_crashes, application, scheduled_at, created_at, attempted_at, process_id, token, args, meta'
