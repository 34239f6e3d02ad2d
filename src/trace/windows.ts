/** A time in which something may have been written. */
export interface Window {
  readonly from: Date
  readonly to: Date
}

/** How much earlier than what led to it something may seem to have been made, by a clock that is wrong, in milliseconds. */
export const CLOCK_MS = 600_000

/** A window with `slackMs` on both sides: clocks differ, and a record bears the time of whoever published it. */
export function around(from: Date, to: Date, slackMs: number): Window {
  return { from: new Date(+from - slackMs), to: new Date(+to + slackMs) }
}

/**
 * The windows as at most `most` that do not touch each other, oldest first: those that overlap become one, and of what is
 * too many the nearest are joined with what lies between them.
 */
export function mergeWindows(windows: readonly Window[], most: number): Window[] {
  const merged: { from: Date; to: Date }[] = []
  for (const { from, to } of windows.toSorted((a, b) => +a.from - +b.from)) {
    const last = merged.at(-1)
    if (last === undefined || +from > +last.to) merged.push({ from, to })
    else if (+to > +last.to) last.to = to
  }
  while (merged.length > Math.max(1, most)) {
    let nearest = 1
    for (let at = 1; at < merged.length; at += 1) {
      if (distance(merged, at) < distance(merged, nearest)) nearest = at
    }
    const [later] = merged.splice(nearest, 1)
    const earlier = merged[nearest - 1]
    if (earlier !== undefined && later !== undefined) earlier.to = later.to
  }
  return merged
}

function distance(windows: readonly Window[], at: number): number {
  return +(windows[at]?.from ?? 0) - +(windows[at - 1]?.to ?? 0)
}

/** Those that no window of `seen` holds. */
export function unseen(windows: readonly Window[], seen: readonly Window[]): Window[] {
  return windows.filter(({ from, to }) => !seen.some((one) => +one.from <= +from && +one.to >= +to))
}
