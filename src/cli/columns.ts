import { usage } from './errors.ts'
import { nearest } from './nearest.ts'
import type { Arguments } from './options.ts'
import type { Column } from './table.ts'

/**
 * The columns that `--columns` asks for, or the usual ones.
 * @throws E_CLI_USAGE for an unknown column.
 */
export function chooseColumns<T>(
  args: Arguments,
  columns: readonly Column<T>[],
): readonly Column<T>[] {
  const names = args.list('columns')
  if (names === undefined) return columns.filter(({ hidden }) => hidden !== true)
  if (args.flag('json') || args.flag('jsonl'))
    throw usage('--columns is for tables; JSON always has all fields')
  return names.map((name) => {
    const column = columns.find((one) => one.name === name)
    if (column !== undefined) return column
    const known = columns.map((one) => one.name)
    const meant = nearest(name, known)
    throw usage(
      `unknown column '${name}'${meant === undefined ? '' : `. Did you mean '${meant}'?`} There are: ${known.join(', ')}`,
    )
  })
}
