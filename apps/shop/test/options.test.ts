import assert from 'node:assert/strict'
import { it } from 'node:test'
import { HELP, parseCommandLine, type ShopOptions } from '../src/options.ts'

const defaults: ShopOptions = {
  forMs: undefined,
  json: false,
  rate: 50,
  databaseUrl: undefined,
  kafka: undefined,
  reset: false,
}

function optionsOf(...args: readonly string[]): ShopOptions {
  const commandLine = parseCommandLine(args)
  assert.equal(commandLine.kind, 'run')
  return commandLine.options
}

function problemsOf(...args: readonly string[]): readonly string[] {
  const commandLine = parseCommandLine(args)
  assert.equal(commandLine.kind, 'wrong')
  return commandLine.problems
}

it('runs with its defaults when nothing is asked for', () => {
  assert.deepEqual(optionsOf(), defaults)
})

it('takes each option, with its value behind a space or an equals sign', () => {
  const url = 'postgres://me:secret@db.example:5432/shop'
  const given = [
    '--for',
    '1.5m',
    '--rate=0',
    '--json',
    '--reset',
    `--database-url=${url}`,
    '--kafka',
    'a:9092,b.example:1',
  ]
  assert.deepEqual(optionsOf(...given), {
    forMs: 90_000,
    json: true,
    rate: 0,
    databaseUrl: url,
    kafka: 'a:9092,b.example:1',
    reset: true,
  })
})

it('knows four units of time', () => {
  const times = ['250ms', '20s', '3m', '2h'].map((time) => optionsOf('--for', time).forMs)
  assert.deepEqual(times, [250, 20_000, 180_000, 7_200_000])
})

it('names everything that is wrong at once', () => {
  const wrong = ['--fast', 'soon', '--json=yes', '--for', '20', '--rate', '-1', '-x', '--rate']
  assert.deepEqual(problemsOf(...wrong), [
    'unknown option --fast',
    "unexpected 'soon'",
    "--json takes no value, got 'yes'",
    'unknown option -x',
    '--rate is given twice',
    "--for: expected a time such as 20s, from 1ms to 576h, got '20'",
    "--rate: expected a number from 0 to 10000, got '-1'",
  ])
})

it('refuses brokers that are no addresses', () => {
  assert.deepEqual(problemsOf('--kafka', 'somewhere'), [
    "--kafka: expected host:port, several with commas between, got 'somewhere'",
  ])
})

it('refuses an option whose value is missing', () => {
  assert.deepEqual(problemsOf('--database-url'), ['--database-url needs a value'])
})

it('does not repeat a database URL that is wrong, because it may have a password in it', () => {
  for (const url of ['mysql://me:secret@db/shop', 'postgres://me:secret@[', 'secret']) {
    assert.doesNotMatch(problemsOf('--database-url', url).join(), /secret/)
  }
})

it('gives help whatever else is asked for', () => {
  assert.equal(parseCommandLine(['--what', '--help']).kind, 'help')
})

it('explains every option in the help', () => {
  for (const option of ['rate', 'for', 'json', 'database-url', 'reset', 'help']) {
    assert.ok(HELP.includes(`--${option}`), option)
  }
})
