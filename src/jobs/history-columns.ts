const KEPT = [
  'id',
  'kind',
  'queue',
  'priority',
  'attempt',
  'max_attempts',
  'crashes',
  'max_crashes',
  'application',
  'scheduled_at',
  'created_at',
  'attempted_at',
  'process_id',
  'token',
  'args',
  'meta',
] as const

/** A column that a job takes along from the hot table into the history. */
export type KeptColumn = (typeof KEPT)[number]

/**
 * The columns that a job takes along, for a list of SQL: each by its name, or by what `changes` says in its place;
 * `null` leaves it out.
 */
export function keptColumns(changes: Partial<Record<KeptColumn, string | null>> = {}): string {
  return KEPT.map((column) => (column in changes ? changes[column] : column))
    .filter((source) => typeof source === 'string')
    .join(', ')
}

/** Columns that a job takes along from the hot table into the history, unchanged. */
export const KEPT_COLUMNS: string = keptColumns()
