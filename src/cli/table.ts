import { fitText, safeLine, textWidth } from './safe-text.ts'

/** A column of a table of `T`. */
export interface Column<T> {
  /** Heading, and its name for `--columns`. */
  readonly name: string
  /** The cell. Anything hostile in it is neutralized; `null` is shown as `-`. */
  readonly of: (row: T) => string | number | bigint | null
  readonly align?: 'right'
  /** Only shown when asked for by `--columns`. */
  readonly hidden?: true
  /** Least width when the terminal is narrow. Default: never cut. */
  readonly least?: number
}

/** How a table is laid out. */
export interface TableLayout {
  /** Cells that a line may take; undefined: no limit, nothing is cut. */
  readonly width: number | undefined
  /** How a heading is made to stand out. Default: not. */
  readonly heading?: (text: string) => string
}

const GAP = 2

/** A table as lines, one per row, without line breaks or control characters whatever the cells hold. */
export function formatTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  layout: TableLayout,
): string[] {
  const cells = rows.map((row) => columns.map(({ of }) => cell(of(row))))
  const widths = columns.map(({ name }, index) =>
    Math.max(textWidth(name), ...cells.map((line) => textWidth(line[index] ?? ''))),
  )
  shrink(columns, widths, layout.width)
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, index) =>
        pad(fitText(text, widths[index] ?? 0), widths[index] ?? 0, columns[index]?.align),
      )
      .join(' '.repeat(GAP))
      .trimEnd()
  const heading = line(columns.map(({ name }) => name))
  return [layout.heading?.(heading) ?? heading, ...cells.map(line)]
}

function cell(value: string | number | bigint | null): string {
  if (value === null || value === '') return '-'
  return safeLine(String(value))
}

/** Takes from the widest column that may be cut, cell by cell, until the line fits or nothing more can be taken. */
function shrink<T>(
  columns: readonly Column<T>[],
  widths: number[],
  limit: number | undefined,
): void {
  if (limit === undefined) return
  const total = (): number =>
    widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1)
  for (let over = total() - limit; over > 0; over -= 1) {
    let widest: number | undefined
    for (const [index, { least }] of columns.entries()) {
      const width = widths[index] as number
      if (
        least !== undefined &&
        width > least &&
        (widest === undefined || width > (widths[widest] as number))
      )
        widest = index
    }
    if (widest === undefined) return
    widths[widest] = (widths[widest] as number) - 1
  }
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const space = ' '.repeat(Math.max(0, width - textWidth(text)))
  return align === 'right' ? space + text : text + space
}
