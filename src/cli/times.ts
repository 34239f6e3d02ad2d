/** A time for people: UTC to the second. */
export function shownTime(time: Date | null): string | null {
  return time === null ? null : `${time.toISOString().slice(0, 19).replace('T', ' ')}Z`
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const

/** A length of time for people, in its two largest units: `3d 4h`, `2m 5s`, `0s`. */
export function shownDuration(ms: number | null): string | null {
  if (ms === null) return null
  let left = ms
  const parts: string[] = []
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size)
    left -= count * size
    if (count > 0 || parts.length > 0) parts.push(`${count}${unit}`)
    if (parts.length === 2) break
  }
  return parts.filter((part) => !part.startsWith('0')).join(' ') || '0s'
}
