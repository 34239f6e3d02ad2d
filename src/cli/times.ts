/** A time for people: UTC to the second. */
export function shownTime(time: Date | null): string | null {
  return time === null ? null : `${time.toISOString().slice(0, 19).replace('T', ' ')}Z`
}
