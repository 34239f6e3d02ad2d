import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { adminUrl, testDatabase } from '../../support/database.ts'
import { assertHarmless, cliIn, type CliResult } from './run-cli.ts'

const UNREACHABLE = 'postgres://ana:s3cret@127.0.0.1:1/shop'

function errorOf({ stderr }: CliResult): { code: string; message: string; next: string } {
  const line = stderr.trimEnd().split('\n').at(-1) ?? ''
  return (JSON.parse(line) as { error: { code: string; message: string; next: string } }).error
}

describe('the command line', () => {
  it('shows every command when none is given, and says more about each', async (t) => {
    const cli = await cliIn(t)
    const overview = await cli.run([])
    assert.equal(overview.code, 0)
    const names = [...overview.stdout.matchAll(/^ {2}([a-z]+(?: [a-z]+)?) {2,}/gm)].map((m) => m[1])
    assert.ok(names.length >= 15)
    await Promise.all(
      names.map(async (name = '') => {
        const help = await cli.run([...name.split(' '), '--help'])
        assert.equal(help.code, 0, name)
        assert.match(help.stdout, new RegExp(`^millrace ${name}: .*\\n\\nusage: millrace ${name}`))
        assert.equal(help.stderr, '')
      }),
    )
    const jobs = await cli.run(['jobs'])
    assert.match(jobs.stdout, /jobs list[^]*jobs retry/)
    assert.equal(
      (await cli.run(['help', 'dlq', 'get'])).stdout,
      (await cli.run(['dlq', 'get', '-h'])).stdout,
    )
  })

  it('says its versions', async (t) => {
    const cli = await cliIn(t)
    const { code, stdout } = await cli.run(['version', '--json'])
    assert.equal(code, 0)
    assert.deepEqual(JSON.parse(stdout), { millrace: '0.1.0', node: process.versions.node })
    assert.match((await cli.run(['--version'])).stdout, /^millrace 0\.1\.0/)
  })

  it('answers mistakes with exit 2, the nearest word and the next command', async (t) => {
    const cli = await cliIn(t)
    const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
      [['jbos', 'list'], /Did you mean 'jobs'\?/],
      [['jobs', 'lst'], /Did you mean 'jobs list'\?/],
      [['dlq', 'list', '--limt', '1'], /Did you mean --limit\?/],
      [['dlq', 'list', '--columns', 'idd'], /Did you mean 'id'\?/],
      [['dlq', 'list', '--columns', 'id', '--json'], /for tables/],
      [['dlq', 'get'], /<id> is missing/],
      [['dlq', 'get', '1', '2'], /one argument too many: '2'/],
      [['dlq', 'get', 'x'], /the number of a dead letter/],
      [['jobs', 'get', 'x'], /a UUID/],
      [['jobs', 'retry'], /which jobs\?/],
      [['jobs', 'list', '--json', '--jsonl'], /exclude each other/],
      [['events', 'tail', '--json'], /--jsonl, or --no-follow/],
      [['healthcheck', 'redy'], /Did you mean 'ready'\?/],
      [['--json', 'jobs', 'list'], /behind the command/],
    ]
    await Promise.all(
      mistakes.map(async ([args, expected]) => {
        const result = await cli.run(args, { env: { DATABASE_URL: UNREACHABLE } })
        assert.equal(result.code, 2, args.join(' '))
        assert.match(result.stderr, expected)
        assert.match(result.stderr, /E_CLI_USAGE/)
        assert.match(result.stderr, /next/)
        assert.equal(result.stdout, '')
      }),
    )
  })

  it('gives errors as one line of JSON with --json', async (t) => {
    const cli = await cliIn(t)
    const result = await cli.run(['jobs', 'lst', '--json'])
    assert.equal(result.code, 2)
    assert.deepEqual(errorOf(result), {
      code: 'E_CLI_USAGE',
      message: "there is no command 'jobs lst'. Did you mean 'jobs list'?",
      next: 'millrace jobs list --help',
    })
  })

  it('neutralizes what was typed', async (t) => {
    const cli = await cliIn(t)
    const { stderr } = await cli.run(['\u001b[2J\u202ejobs'])
    assert.match(stderr, /\\x1b\[2J\\u202ejobs/)
    assertHarmless(stderr)
  })

  it('uses colours only when asked, or on a terminal', async (t) => {
    const cli = await cliIn(t)
    assertHarmless((await cli.run(['nope'])).stderr)
    const colored = await cli.run(['doctor', '--color=always', '--database-url', UNREACHABLE])
    assert.ok(colored.stdout.includes('\u001b[31m✗\u001b[0m'))
    const plain = await cli.run(['doctor', '--color=never', '--database-url', UNREACHABLE])
    assertHarmless(plain.stdout + plain.stderr)
  })
})

describe('the database', () => {
  it('is named by nobody: all places that were looked at are said', async (t) => {
    const cli = await cliIn(t)
    const { code, stderr } = await cli.run(['jobs', 'list'])
    assert.equal(code, 2)
    for (const place of [
      '--database-url',
      'MILLRACE_DATABASE_URL',
      'DATABASE_URL',
      'millrace.config.ts',
      '.millrace/connection.json',
    ]) {
      assert.ok(stderr.includes(place), place)
    }
    assert.match(stderr, /E_CLI_NO_DATABASE/)
  })

  it('is found by flag, environment, config and running shop, in this order', async (t) => {
    const cli = await cliIn(t)
    const source = async (
      args: readonly string[],
      env: Record<string, string>,
    ): Promise<string> => {
      const { stdout } = await cli.run(['doctor', '--json', ...args], { env })
      return (JSON.parse(stdout) as { database: string }).database
    }
    await mkdir(join(cli.folder, '.millrace'))
    const shop = await cli.write(
      '.millrace/connection.json',
      JSON.stringify({ databaseUrl: UNREACHABLE }),
    )
    assert.equal(await source([], {}), shop)
    const config = await cli.write(
      'millrace.config.mjs',
      `export const millrace = { database: '${UNREACHABLE}' }`,
    )
    assert.equal(await source([], {}), config)
    assert.equal(await source([], { DATABASE_URL: UNREACHABLE }), 'DATABASE_URL')
    const env = { DATABASE_URL: UNREACHABLE, MILLRACE_DATABASE_URL: UNREACHABLE }
    assert.equal(await source([], env), 'MILLRACE_DATABASE_URL')
    assert.equal(await source(['--database-url', UNREACHABLE], env), '--database-url')
  })

  it('cannot be reached: exit 6, and no password anywhere', async (t) => {
    const cli = await cliIn(t, UNREACHABLE)
    for (const args of [
      ['jobs', 'list'],
      ['dlq', 'list', '--json'],
      ['migrate'],
      ['consumers', 'list'],
      ['doctor'],
      ['doctor', '--json'],
    ]) {
      const { code, stdout, stderr } = await cli.run(args)
      assert.equal(code, 6, args.join(' '))
      assert.doesNotMatch(stdout + stderr, /s3cret/)
    }
    const result = await cli.run(['jobs', 'list', '--json'])
    assert.equal(errorOf(result).code, 'E_DB_CONNECT')
    assert.equal(errorOf(result).next, 'millrace doctor')
  })

  it('refuses a wrong password: exit 6, and no password anywhere', async (t) => {
    const url = new URL(adminUrl())
    const right = url.password
    url.password = 'wr0ng-s3cret'
    const cli = await cliIn(t, url.href)
    const { code, stdout, stderr } = await cli.run(['jobs', 'list'])
    assert.equal(code, 6)
    assert.match(stderr, /The user or the password is wrong/)
    assert.ok(!(stdout + stderr).includes('wr0ng'))
    assert.ok(!(stdout + stderr).includes(right))
  })

  it('is no URL: exit 2, and nothing of it is shown', async (t) => {
    const cli = await cliIn(t)
    const { code, stderr } = await cli.run(['jobs', 'list', '--database-url', 'ana:s3cret@db1'])
    assert.equal(code, 2)
    assert.doesNotMatch(stderr, /s3cret/)
  })

  it('does not allow it: exit 7', async (t) => {
    const { pool, url, name } = await testDatabase(t)
    const role = `nobody_${name}`
    await pool.query(`create role ${role} login password 'pw'`)
    const theirs = new URL(url)
    theirs.username = role
    theirs.password = 'pw'
    const cli = await cliIn(t, theirs.href)
    const result = await cli.run(['dlq', 'list', '--json'])
    await pool.query(`drop role ${role}`)
    assert.equal(result.code, 7)
    assert.equal(errorOf(result).code, 'E_CLI_NO_PERMISSION')
  })

  it('has no tables yet: the next command is said', async (t) => {
    const { pool, url } = await testDatabase(t)
    await pool.query('drop schema millrace cascade')
    const cli = await cliIn(t, url)
    const result = await cli.run(['jobs', 'list', '--json'])
    assert.equal(result.code, 1)
    assert.equal(errorOf(result).code, 'E_DB_MIGRATION')
    assert.match(errorOf(result).message, /Run `millrace migrate`/)
  })
})

describe('the config', () => {
  const broken: readonly (readonly [string, string, RegExp])[] = [
    [
      'cannot be loaded',
      'throw new Error("postgres://a:s3cret@b/c is down")',
      /cannot be loaded: Error: postgres:\/\/a:\*\*\*@b/,
    ],
    ['exports no millrace', 'export const mill = {}', /exports only mill/],
    ['exports nothing', '', /exports nothing/],
  ]
  for (const [title, text, expected] of broken) {
    it(`${title}: exit 2, with what to write`, async (t) => {
      const cli = await cliIn(t)
      await cli.write('millrace.config.ts', text)
      const { code, stderr } = await cli.run(['start'])
      assert.equal(code, 2)
      assert.match(stderr, expected)
      assert.match(stderr, /E_CLI_CONFIG/)
    })
  }

  it('is missing though it was named: exit 2', async (t) => {
    const cli = await cliIn(t)
    const { code, stderr } = await cli.run(['jobs', 'list', '--config', 'nope.ts'])
    assert.equal(code, 2)
    assert.match(stderr, /there is no config file .*nope\.ts/)
  })
})
