/** Labels of a sample; their values may be anything. */
export type Labels = Readonly<Record<string, string>>

/** One value of a metric. */
export interface Sample {
  readonly labels?: Labels
  readonly value: number
}

/** A metric with all its samples. */
export interface MetricFamily {
  /** As Prometheus wants it: `[a-z_]+`; a counter ends with `_total`. */
  readonly name: string
  readonly type: 'counter' | 'gauge'
  /** One sentence for people. */
  readonly help: string
  readonly samples: readonly Sample[]
}

/** What {@link formatMetrics} writes, as its content type: Prometheus' text format. */
export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** Metrics in Prometheus' text format. A family without samples is left out; so is a sample that is no number. */
export function formatMetrics(families: readonly MetricFamily[]): string {
  const lines: string[] = []
  for (const { name, type, help, samples } of families) {
    const known = samples.filter(({ value }) => Number.isFinite(value))
    if (known.length === 0) continue
    lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`)
    for (const { labels = {}, value } of known)
      lines.push(`${name}${formatLabels(labels)} ${value}`)
  }
  return lines.map((line) => `${line}\n`).join('')
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** Lone surrogates have no place in UTF-8. */
function escapeValue(value: string): string {
  return value
    .toWellFormed()
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('"', '\\"')
}

function escapeHelp(help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}
