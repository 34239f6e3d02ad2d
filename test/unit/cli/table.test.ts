import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatTable, type Column } from '../../../src/cli/table.ts'

interface Row {
  readonly name: string
  readonly size: number | bigint | null
  readonly text: string
}

const COLUMNS: readonly Column<Row>[] = [
  { name: 'name', of: (row) => row.name },
  { name: 'size', of: (row) => row.size, align: 'right' },
  { name: 'text', of: (row) => row.text, least: 6 },
]

describe('a table', () => {
  it('sets texts left, numbers right, and shows nothing as a dash', () => {
    const rows = [
      { name: 'a', size: 1, text: '' },
      { name: 'long name', size: 1_000n, text: 'x' },
      { name: 'b', size: null, text: 'y' },
    ]
    assert.deepEqual(formatTable(COLUMNS, rows, { width: undefined }), [
      'name       size  text',
      'a             1  -',
      'long name  1000  x',
      'b             -  y',
    ])
  })

  it('is one line per row, whatever the cells hold', () => {
    const rows = [{ name: 'a\r\nb', size: 1, text: '\u001b[2J\u202egnp.exe\u0000' }]
    const lines = formatTable(COLUMNS, rows, { width: undefined })
    assert.deepEqual(lines[1], 'a\\r\\nb     1  \\x1b[2J\\u202egnp.exe\\x00')
  })

  it('takes from the columns that may be cut until it fits', () => {
    const rows = [{ name: 'identifier', size: 12, text: 'a long text that goes on and on' }]
    const lines = formatTable(COLUMNS, rows, { width: 30 })
    assert.deepEqual(lines, ['name        size  text', 'identifier    12  a long text…'])
    assert.ok(lines.every((line) => line.length <= 30))
  })

  it('never cuts what must stay whole, even when the terminal is too narrow', () => {
    const rows = [{ name: 'identifier', size: 12, text: 'a long text' }]
    assert.deepEqual(formatTable(COLUMNS, rows, { width: 10 })[1], 'identifier    12  a lon…')
  })

  it('aligns wide characters by their cells', () => {
    const rows = [
      { name: '日本', size: 1, text: 'x' },
      { name: 'abcd', size: 1, text: 'x' },
    ]
    assert.deepEqual(formatTable(COLUMNS, rows, { width: undefined }).slice(1), [
      '日本     1  x',
      'abcd     1  x',
    ])
  })
})
