import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CliError } from '../../../src/cli/errors.ts'
import {
  parseCommandLine,
  parseTime,
  type Arguments,
  type OptionSet,
} from '../../../src/cli/options.ts'
import { systemClock, type Clock } from '../../../src/core/clock.ts'

const OPTIONS: OptionSet = {
  limit: { type: 'string', short: 'n', value: '<n>', help: '' },
  state: { type: 'string', help: '' },
  columns: { type: 'string', help: '' },
  json: { type: 'boolean', help: '' },
}
const CLOCK: Clock = { ...systemClock, now: () => new Date('2026-11-22T12:00:00.000Z') }

function parse(...args: string[]): Arguments {
  return parseCommandLine(args, OPTIONS, CLOCK)
}

function problem(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    assert.ok(error instanceof CliError)
    assert.equal(error.code, 'E_CLI_USAGE')
    return error.message
  }
  assert.fail('nothing was thrown')
}

describe('a command line', () => {
  it('gives options in every usual form, and arguments', () => {
    const args = parse('a', '--limit=5', '--json', 'b', '--state', 'x')
    assert.deepEqual(args.positionals, ['a', 'b'])
    assert.equal(args.whole('limit', 1, 10), 5)
    assert.equal(args.flag('json'), true)
    assert.equal(args.text('state'), 'x')
    assert.equal(parse('-n', '3').whole('limit', 1, 10), 3)
    assert.deepEqual(parse('--', '--json').positionals, ['--json'])
  })

  it('names the option that was likely meant', () => {
    assert.equal(
      problem(() => parse('--limt', '3')),
      'unknown option --limt. Did you mean --limit?',
    )
    assert.equal(
      problem(() => parse('--zzzzzz')),
      'unknown option --zzzzzz',
    )
    assert.equal(
      problem(() => parse('-x')),
      'unknown option -x',
    )
  })

  it('does not take the next option for a forgotten value', () => {
    assert.match(
      problem(() => parse('--limit', '--json')),
      /^--limit needs a value/,
    )
    assert.match(
      problem(() => parse('--limit')),
      /^--limit needs a value/,
    )
    assert.equal(parse('--state=--json').text('state'), '--json')
  })

  it('refuses a value where none belongs, and an option given twice', () => {
    assert.match(
      problem(() => parse('--json=yes')),
      /takes no value/,
    )
    assert.match(
      problem(() => parse('--limit', '1', '--limit', '2')),
      /given twice/,
    )
  })

  it('holds numbers to their bounds', () => {
    for (const text of ['0', '11', '1.5', '1e1', 'x', '99999999999999999999']) {
      assert.match(
        problem(() => parse(`--limit=${text}`).whole('limit', 1, 10)),
        /from 1 to 10/,
      )
    }
  })

  it('holds words to those there are, with a suggestion', () => {
    const words = ['available', 'discarded'] as const
    assert.equal(parse('--state', 'discarded').word('state', words), 'discarded')
    assert.match(
      problem(() => parse('--state', 'discarted').word('state', words)),
      /'discarded'\?$/,
    )
  })

  it('reads lists without their spaces and empty parts', () => {
    assert.deepEqual(parse('--columns', 'a, b,,c').list('columns'), ['a', 'b', 'c'])
    assert.match(
      problem(() => parse('--columns', ',').list('columns')),
      /at least one/,
    )
  })

  it('is not confused by options named like parts of every object', () => {
    assert.match(
      problem(() => parse('--constructor')),
      /unknown option/,
    )
    assert.match(
      problem(() => parse('--__proto__')),
      /unknown option/,
    )
  })
})

describe('a time', () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['15m', '2026-11-22T11:45:00.000Z'],
    ['2h', '2026-11-22T10:00:00.000Z'],
    ['7d', '2026-11-15T12:00:00.000Z'],
    ['2026-11-01', '2026-11-01T00:00:00.000Z'],
    ['2026-11-01T10:00', '2026-11-01T10:00:00.000Z'],
    ['2026-11-01 10:00:30.5Z', '2026-11-01T10:00:30.500Z'],
    ['2026-11-01T10:00+02:00', '2026-11-01T08:00:00.000Z'],
    ['yesterday', undefined],
    ['15', undefined],
    ['2026-13-01', undefined],
    ['-5m', undefined],
  ]
  for (const [text, expected] of cases) {
    it(`reads ${text} as ${expected ?? 'no time'}`, () => {
      assert.equal(parseTime(text, CLOCK)?.toISOString(), expected)
    })
  }
})
