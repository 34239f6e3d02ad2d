import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { z } from 'zod'
import type { Millrace } from '../../../src/app/start.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import type { Timeline } from '../../../src/trace/queries.ts'
import { gate } from '../../support/jobs.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'
import { assertHarmless, cliWithDatabase, type Cli } from './run-cli.ts'

const sold = event('item.sold', {
  topic: 'sales',
  source: 'till',
  schema: z.object({ n: z.int(), secret: z.string() }),
  key: ({ n }) => `item\u202e-${n}`,
})

async function setup(
  t: TestContext,
  { held }: { readonly held?: Promise<void> } = {},
): Promise<{ readonly cli: Cli; readonly millrace: Millrace; sell(n: number): Promise<string> }> {
  const cli = await cliWithDatabase(t)
  const mail = job('mail', {
    args: z.object({ n: z.int(), secret: z.string() }),
    backoff: () => 1,
    async handle({ n }, { attempt, effect }) {
      effect('mail.sent', { n, note: 'a\u001b[31m' })
      await held
      if (attempt === 1) throw new Error('mailbox\u001b[2J full')
    },
  })
  const millrace = await running(t, {
    database: cli.url,
    run: [
      application('mails').on(
        sold,
        toJob(mail, ({ data }) => data),
      ),
    ],
  })
  return {
    cli,
    millrace,
    sell: (n) => millrace.publish(sold, { n, secret: 'hunter2' }),
  }
}

describe('millrace trace', () => {
  it('prints the tree with times, waits and attempts, and nothing that a terminal acts on', async (t) => {
    const { cli, millrace, sell } = await setup(t)
    const id = await sell(1)
    await settled(millrace)
    const { code, stdout, stderr } = await cli.run(['trace', id])
    assert.deepEqual([code, stderr], [0, ''])
    const lines = stdout.trimEnd().split('\n')
    assert.match(lines[0] ?? '', new RegExp(`^trace ${id} · began \\d{4}-`))
    assert.match(lines[1] ?? '', /^finished after .* · the only branch is done$/)
    assert.match(lines[2] ?? '', /^longest wait .*: /)
    const tree = lines.slice(4).map((line) => line.replace(/^\s*(\+\S+ \S+)?( {2})?/, ''))
    assert.match(
      tree[0] ?? '',
      /^event item\.sold · sales\/\d+\/0 · key item\\u202e-1 · id \S+ {2}◀$/,
    )
    assert.match(stdout, /└─ mails: handled after /)
    assert.match(stdout, /└─ job mail: completed after .* · id [0-9a-f-]{36}/)
    assert.match(stdout, /attempt 1 failed after .*: Error: mailbox\\x1b\[2J full \(process /)
    assert.match(stdout, /waited .*: back-off after attempt 1/)
    assert.match(stdout, /attempt 2 completed the job after /)
    assert.match(stdout, /effect mail\.sent \{"n":1,"note":"a\\u001b\[31m"\} \(attempt 2\)/)
    assert.doesNotMatch(stdout, /hunter2/)
    assertHarmless(stdout)
    const narrow = await cli.run(['trace', id], { env: { COLUMNS: '60' } })
    for (const line of narrow.stdout.split('\n')) assert.ok(line.length <= 60, line)
  })

  it('gives the timeline as one document, without values', async (t) => {
    const { cli, millrace, sell } = await setup(t)
    const id = await sell(2)
    await settled(millrace)
    const { code, stdout } = await cli.run(['trace', id, '--json'])
    assert.equal(code, 0)
    const timeline = JSON.parse(stdout) as Timeline
    assert.deepEqual(
      timeline.nodes.map(({ type }) => type),
      ['event', 'application', 'job', 'effect', 'effect'],
    )
    assert.equal(timeline.correlationId, id)
    assert.doesNotMatch(stdout, /hunter2/)
  })

  it('is watched until everything in it is finished', async (t) => {
    const { opened, open } = gate()
    const { cli, sell } = await setup(t, { held: opened })
    const id = await sell(3)
    const child = cli.spawn(['trace', id, '--watch', '--json'])
    let stdout = ''
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString()
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    await eventually(async () => stdout.includes('"outcome":"running"'))
    open()
    assert.equal(await ended, 0)
    const states = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Timeline)
    assert.equal(states.at(-1)?.headline, 'the only branch is done')
    assert.ok(states.length >= 2)
    for (const { finishedAt } of states.slice(0, -1)) assert.equal(finishedAt, null)
  })

  it('ends a watch with the first Ctrl-C', async (t) => {
    const { opened, open } = gate()
    const { cli, sell } = await setup(t, { held: opened })
    t.after(open)
    const id = await sell(4)
    const child = cli.spawn(['trace', id, '--watch'])
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGINT')
    assert.equal(await ended, 130)
  })

  it('says where it looked and what to try when there is nothing', async (t) => {
    const { cli } = await setup(t)
    const { code, stdout, stderr } = await cli.run([
      'trace',
      '01a205a0-d634-7000-955f-4261d11b89c8',
    ])
    assert.deepEqual([code, stdout], [5, ''])
    assert.match(
      stderr,
      /nothing is known of '01a205a0-.*Looked at: .*\n {2}code E_TRACE_NOT_FOUND\n {2}next millrace /,
    )
    const wrong = await cli.run(['trace', 'x', '--width', '0'])
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, /--width: expected a whole number from 1 to 1000/)
  })
})
