import type { Output } from './output.ts'
import { Rates } from './rates.ts'
import { summary, type Line, type Look, type Scene } from './summary.ts'

/** The part of a terminal that is written to. */
export interface Screen {
  readonly columns: number
  readonly rows: number
  write(text: string): boolean
  on(event: 'resize', listener: () => void): unknown
}

/** Options of {@link liveSummary}. */
export interface LiveSummaryOptions {
  readonly screen: Screen
  /** Where sentences go; may be the same terminal. */
  readonly stderr: { write(text: string): boolean }
  readonly color: boolean
  /** What does not change, or is known by others. */
  readonly scene: () => Pick<Scene, 'rows' | 'rate' | 'database' | 'mailbox' | 'kafka' | 'upMs'>
}

const CODES: Readonly<Record<Look, string>> = {
  plain: '',
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  green: '\x1b[32m',
  yellow: '\x1b[33m',
  red: '\x1b[31m',
}
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
/** Terminals that know it show what is between the two at once; the others ignore it. */
const BEGIN_FRAME = '\x1b[?2026h'
const END_FRAME = '\x1b[?2026l'
const CLEAR_SCREEN = '\x1b[2J\x1b[H'
const CLEAR_BELOW = '\x1b[J'
const CLEAR_LINE_END = '\x1b[K'

/** One summary, drawn over itself again and again; sentences scroll by above it. */
export function liveSummary({ screen, stderr, color, scene }: LiveSummaryOptions): Output {
  const rates = new Rates()
  let figures: Scene['figures']
  let phase: string | undefined
  /** How many lines are on the screen; the cursor is below them. */
  let drawn = 0
  let open = true

  function backToTop(): string {
    const rows = drawn
    drawn = 0
    return rows === 0 ? '\r' : `\r\x1b[${rows}A`
  }

  function draw(): void {
    if (!open) return
    const columns = columnsOf(screen)
    const lines = summary({ ...scene(), figures, rates, phase }, columns)
      // The cursor needs a line, and none may wrap.
      .slice(0, Math.max(1, (screen.rows || 24) - 1))
      .map((line) => cut(line, columns - 1))
    const text = lines.map((line) => `${paint(line, color)}${CLEAR_LINE_END}\n`).join('')
    screen.write(`${BEGIN_FRAME}${HIDE_CURSOR}${backToTop()}${text}${CLEAR_BELOW}${END_FRAME}`)
    drawn = lines.length
  }

  screen.on('resize', () => {
    if (!open) return
    // How the terminal has broken the lines anew is not known, so all of it goes.
    screen.write(CLEAR_SCREEN)
    drawn = 0
    draw()
  })
  return {
    show(now) {
      figures = now
      rates.add(now)
      draw()
    },
    talk(line) {
      if (open && drawn > 0) screen.write(`${backToTop()}${CLEAR_BELOW}`)
      stderr.write(`${line}\n`)
      if (figures !== undefined) draw()
    },
    phase(text) {
      phase = text
      draw()
    },
    close() {
      if (!open) return
      draw()
      open = false
      screen.write(SHOW_CURSOR)
    },
  }
}

function columnsOf({ columns }: Screen): number {
  return Math.max(2, columns || 80)
}

function cut(line: Line, width: number): Line {
  let left = width
  return line.flatMap(([text, look]) => {
    const piece = text.slice(0, left)
    left -= piece.length
    return piece === '' ? [] : [[piece, look] as const]
  })
}

function paint(line: Line, color: boolean): string {
  return line
    .map(([text, look]) => (color && CODES[look] !== '' ? `${CODES[look]}${text}\x1b[0m` : text))
    .join('')
}
