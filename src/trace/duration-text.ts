/** A length of time for people: `0.4 ms`, `38 ms`, `1.2 s`, `41 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`. */
export function durationText(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 10) / 10} ms`
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 10_000) return `${Math.floor(ms / 100) / 10} s`
  if (ms < 60_000) return `${Math.floor(ms / 1_000)} s`
  const [large, small, unit, rest] =
    ms < 3_600_000
      ? ['min', 's', 60_000, 1_000]
      : ms < 86_400_000
        ? ['h', 'min', 3_600_000, 60_000]
        : ['d', 'h', 86_400_000, 3_600_000]
  const more = Math.floor((ms % Number(unit)) / Number(rest))
  return `${Math.floor(ms / Number(unit))} ${large}${more === 0 ? '' : ` ${more} ${small}`}`
}
