import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { it } from 'node:test'
import type { Figures } from '../src/figures.ts'
import { duration } from '../src/summary.ts'
import { liveSummary } from '../src/terminal.ts'
import { Rates } from '../src/rates.ts'

function figures(changes: Partial<Figures> = {}): Figures {
  return {
    at: '2026-11-22T12:00:00.000Z',
    purchases: 1_234,
    events: 3_700,
    handled: 3_600,
    filtered: 2_400,
    jobsCompleted: 1_200,
    attemptsFailed: 0,
    deadLetters: 5,
    deadLettersOpen: 4,
    deadLettersLastHour: 3,
    deadLetterAgeMs: 3_725_000,
    backlog: 3,
    lag: 7,
    partitionsHalted: 0,
    outbox: 0,
    outboxAgeMs: null,
    mails: 1_200,
    mailsAgain: 0,
    database: 'up',
    ...changes,
  }
}

/** A terminal that understands as much as the summary uses. */
class FakeScreen extends EventEmitter {
  columns = 100
  rows = 40
  written = ''
  lines: string[] = ['']
  row = 0

  write = (text: string): boolean => {
    this.written += text
    // oxlint-disable-next-line no-control-regex
    for (const [token] of text.matchAll(/\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+/g))
      this.#take(token)
    return true
  }

  get text(): string {
    return this.lines.join('\n')
  }

  #column = 0

  #take(token: string): void {
    const up = token.startsWith('\x1b[') && token.endsWith('A') ? token.slice(2, -1) : undefined
    if (token === '\r') this.#column = 0
    else if (token === '\n') this.#goTo(this.row + 1)
    else if (up !== undefined) this.#goTo(Math.max(0, this.row - Number(up)))
    else if (token === '\x1b[K') this.#set((line) => line.slice(0, this.#column))
    else if (token === '\x1b[J') {
      this.#set((line) => line.slice(0, this.#column))
      this.lines.length = this.row + 1
    } else if (token === '\x1b[2J') this.lines = ['']
    else if (token === '\x1b[H') this.#goTo(0)
    else if (!token.startsWith('\x1b')) {
      this.#set((line) => {
        const kept = line.padEnd(this.#column)
        return kept.slice(0, this.#column) + token + kept.slice(this.#column + token.length)
      })
      this.#column += token.length
    }
  }

  #goTo(row: number): void {
    this.row = row
    this.#column = 0
    while (this.lines.length <= row) this.lines.push('')
  }

  #set(change: (line: string) => string): void {
    this.lines[this.row] = change(this.lines[this.row] ?? '')
  }
}

function setup({ color = false, rate = 50, kafka = false } = {}) {
  const screen = new FakeScreen()
  const scene = () => ({
    rows: 8_502,
    rate,
    database: 'embedded PostgreSQL 18 on port 5432',
    mailbox: '.millrace/mailbox/new',
    upMs: 72_000,
    kafka,
  })
  const output = liveSummary({ screen, stderr: screen, color, scene })
  return { screen, output }
}

it('draws the summary over itself', () => {
  const { screen, output } = setup()
  output.show(figures())
  const before = screen.lines.length
  output.show(figures({ purchases: 1_284, at: '2026-11-22T12:00:01.000Z' }))
  assert.equal(screen.lines.length, before)
  assert.equal(screen.text.match(/millrace shop/g)?.length, 1)
  assert.match(screen.text, /purchases +1,284 +50\/s +round 1, row 1,284 of 8,502/)
  assert.match(screen.text, /dead letters +5/)
  assert.match(screen.text, /of them open +4 +3\/h +the oldest for 1 h 2 min/)
  assert.doesNotMatch(screen.text, /outbox/)
  assert.match(screen.text, /up 1 min 12 s/)
})

it('says what to try while it is open, and how to go on when it has stopped', () => {
  const { screen, output } = setup()
  output.show(figures())
  assert.match(screen.text, /npx millrace dlq get latest/)
  output.phase('stopped')
  output.show(figures(), true)
  assert.doesNotMatch(screen.text, /npx|Ctrl-C/)
  assert.match(screen.text, /npm start goes on where this stopped/)
})

it('shows what waits for Kafka, and for how long, where events are there', () => {
  const { screen, output } = setup({ kafka: true })
  output.show(figures())
  assert.match(screen.text, /outbox +0 +nothing waits for Kafka/)
  output.show(figures({ outbox: 12, outboxAgeMs: 75_000 }))
  assert.match(screen.text, /outbox +12 +the oldest waits for 1 min 15 s/)
})

it('says that partitions are stopped', () => {
  const { screen, output } = setup()
  output.show(figures({ partitionsHalted: 1 }))
  assert.match(screen.text, /One partition is stopped until somebody decides.*millrace doctor/)
  output.show(figures({ partitionsHalted: 18 }))
  assert.match(screen.text, /18 partitions are stopped/)
  output.show(figures())
  assert.doesNotMatch(screen.text, /stopped/)
})

it('lets sentences scroll by above the summary', () => {
  const { screen, output } = setup()
  output.talk('The shop is open.')
  output.show(figures())
  output.talk('The database cannot be reached.')
  output.show(figures())
  assert.deepEqual(screen.lines.slice(0, 2), [
    'The shop is open.',
    'The database cannot be reached.',
  ])
  assert.match(screen.lines[2] ?? '', /^millrace shop/)
  assert.equal(screen.text.match(/millrace shop/g)?.length, 1)
})

it('cuts its lines for a narrow terminal, and leaves the notes out', () => {
  const { screen, output } = setup()
  screen.columns = 40
  output.show(figures())
  assert.ok(
    screen.lines.every((line) => line.length < 40),
    screen.text,
  )
  assert.doesNotMatch(screen.text, /of 8,502/)
  assert.match(screen.text, /purchases +1,234/)
})

it('is never higher than the terminal', () => {
  const { screen, output } = setup()
  screen.rows = 6
  output.show(figures())
  output.show(figures())
  assert.equal(screen.lines.length, 6)
})

it('draws anew when the terminal changes its size', () => {
  const { screen, output } = setup()
  output.show(figures())
  screen.columns = 30
  screen.emit('resize')
  assert.equal(screen.text.match(/millrace shop/g)?.length, 1)
  assert.ok(screen.lines.every((line) => line.length < 30))
})

it('uses no colour when that is not wanted', () => {
  // oxlint-disable-next-line no-control-regex
  const colored = /\x1b\[\d+m/
  for (const color of [true, false]) {
    const { screen, output } = setup({ color })
    output.show(figures())
    assert.equal(colored.test(screen.written), color)
  }
})

it('gives the cursor back once when it ends', () => {
  const { screen, output } = setup()
  output.show(figures())
  output.close()
  output.close()
  output.show(figures())
  assert.ok(screen.written.includes('\x1b[?25l'))
  assert.ok(screen.written.endsWith('\x1b[?25h'))
})

it('teaches while there is nothing to show yet', () => {
  const none = { deadLetters: 0, deadLettersOpen: 0, deadLettersLastHour: 0, deadLetterAgeMs: null }
  const empty = figures({ purchases: 0, ...none })
  const { screen, output } = setup()
  output.show(empty)
  assert.match(screen.text, /The tills open\. Each purchase becomes an order/)
  assert.match(screen.text, /a broken purchase will come soon/)
  assert.match(screen.text, /of them open +0 +0\/h +none waits for anybody/)
  const without = setup({ rate: 0 })
  without.output.show(empty)
  assert.match(without.screen.text, /--rate 0 lets none come/)
})

it('says that the database is gone', () => {
  const { screen, output } = setup()
  output.show(figures({ database: 'down' }))
  assert.match(screen.text, /The database cannot be reached/)
})

it('takes rates over the last seconds, without those that could not be read', () => {
  const rates = new Rates()
  assert.equal(rates.perSecond('purchases'), 0)
  for (let second = 0; second < 20; second += 1) {
    const at = new Date(Date.UTC(2026, 10, 22, 12, 0, second)).toISOString()
    rates.add(figures({ at, purchases: second < 10 ? 0 : (second - 10) * 40 }))
    rates.add(figures({ at, purchases: 0, database: 'down' }))
  }
  assert.equal(rates.perSecond('purchases'), 40)
})

it('says how long it has been up in at most two units', () => {
  assert.deepEqual([0, 59_999, 60_000, 3_725_000].map(duration), [
    '0 s',
    '59 s',
    '1 min 0 s',
    '1 h 2 min',
  ])
})
