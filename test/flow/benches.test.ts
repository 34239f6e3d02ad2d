import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, it, type TestContext } from 'node:test'
import { cleanup } from '../support/cleanup.ts'
import { compileCache } from '../support/compile-cache.ts'

/** The benches that are cheap with few jobs or records, and the figures that each gives. */
const CHEAP = [
  { bench: 'jobs', count: 2_000, metrics: ['drain', 'bulk insert'] },
  { bench: 'kafka-consume', count: 2_000, metrics: ['consume'] },
] as const

const KEYS = ['bench', 'metric', 'value', 'unit', 'peer', 'peerValue', 'ratio']

/** Runs `npm run bench -- …` in a process group of its own, which ends with the test. */
async function bench(
  t: TestContext,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const file = join(import.meta.dirname, '..', '..', 'bench', 'main.ts')
  const child = spawn(process.execPath, [file, ...args], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_COMPILE_CACHE: compileCache() },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const closed = once(child, 'close')
  cleanup(t, async () => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL')
    } catch {
      // All of them have ended.
    }
    await closed
  })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    closed,
  ])
  return { code: Number(code), stdout, stderr }
}

describe('npm run bench', () => {
  for (const { bench: name, count, metrics } of CHEAP) {
    it(`prints nothing but the figures of ${name} on stdout, as lines of JSON`, async (t) => {
      const { code, stdout, stderr } = await bench(
        t,
        name,
        '--count',
        String(count),
        '--rounds',
        '1',
        '--json',
      )
      assert.equal(code, 0, stderr)
      assert.match(stderr, /^round 1: millrace /m)
      const rows = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      assert.deepEqual([...new Set(rows.map((row) => row['metric']))], metrics)
      for (const row of rows) {
        assert.deepEqual(Object.keys(row), KEYS)
        assert.equal(row['bench'], name)
        for (const key of ['metric', 'unit', 'peer']) assert.ok(row[key], key)
        for (const key of ['value', 'peerValue', 'ratio'])
          assert.ok(Number.isFinite(row[key]) && Number(row[key]) > 0, `${key} of ${stdout}`)
      }
    })
  }

  it('measures nothing and ends with 2 when it is asked for what there is not', async (t) => {
    const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
      [
        ['jobs', 'nap', 'toString'],
        /^There is no bench called nap, toString\. There are: jobs, pipeline, [^\n]+\.\n$/,
      ],
      ...['0', 'many', '1.5'].map(
        (count) =>
          [
            ['jobs', `--count=${count}`],
            new RegExp(`^--count: expected a whole number from 1 to \\d+; got '${count}'\\.\\n$`),
          ] as const,
      ),
      [['jobs', '--rounds', '0'], /^--rounds: expected a whole number from 1 to 100; got '0'\.\n$/],
      [['jobs', '--cuont', '5'], /'--cuont'[^]*\nUsage: npm run bench -- \[jobs\|pipeline\|/],
    ]
    for (const [args, message] of mistakes) {
      const { code, stdout, stderr } = await bench(t, ...args)
      assert.deepEqual([code, stdout], [2, ''], args.join(' '))
      assert.match(stderr, message)
    }
  })
})
