/** One thing that was looked at. Plain data: whoever shows it only prints. */
export interface Check {
  /** Stable, for scripts: `database.listen`. */
  readonly id: string
  /** What was looked at, in a few words. */
  readonly title: string
  /** `unknown`: it could not be looked at, because of an earlier failure or a missing permission. */
  readonly state: 'ok' | 'warning' | 'failure' | 'unknown'
  /** What was found. */
  readonly found: string
  /** What to do about it; absent when there is nothing to do. */
  readonly fix?: string
}
