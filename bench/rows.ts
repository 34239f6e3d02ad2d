/** One figure beside somebody else's. */
export interface BenchRow {
  readonly bench: string
  readonly metric: string
  readonly value: number
  readonly unit: string
  readonly peer: string
  readonly peerValue: number
  /** `value` ÷ `peerValue`. */
  readonly ratio: number
}

/** What a bench is told. */
export interface BenchOptions {
  readonly count: number
  readonly rounds: number
  /** Told what is going on. */
  note(text: string): void
}

/** The rows as lines of JSON, or as a table. */
export function formatRows(rows: readonly BenchRow[], json: boolean): string {
  if (json) return rows.map((row) => JSON.stringify(row)).join('\n')
  const cells = rows.map((row) => [
    `${row.bench}: ${row.metric}`,
    `${row.value.toLocaleString('en')} ${row.unit}`,
    row.peer,
    `${row.peerValue.toLocaleString('en')} ${row.unit}`,
    `${row.ratio.toFixed(2)} ×`,
  ])
  const table = [['what', 'millrace', 'beside', 'theirs', 'ratio'], ...cells]
  const widths = table[0]?.map((_, at) => Math.max(...table.map((line) => line[at]?.length ?? 0)))
  return table
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths?.[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
