import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { noteAction } from '../../../src/control/operator-action.ts'
import { createCore } from '../../../src/core/core.ts'
import { tableLog } from '../../../src/log/table-log.ts'
import { assertHarmless, cliWithDatabase } from './run-cli.ts'

const EVENT = import.meta.resolve('../../../src/events/event.ts')
const ZOD = import.meta.resolve('zod')
const CONFIG = `
import { event } from '${EVENT}'
import { z } from '${ZOD}'
export const millrace = { events: [event('ITEM_SOLD', { source: 'SHOP', topic: 'orders', schema: z.object({ id: z.string() }) })] }
`

interface AuditPage {
  readonly items: readonly {
    readonly id: string
    readonly operator: string
    readonly action: string
    readonly count: number
    readonly filter: unknown
    readonly reason: string | null
    readonly detail: unknown
  }[]
  readonly more: string | null
}

describe('millrace audit list', () => {
  it('teaches what it is for when nobody has done anything', async (t) => {
    const cli = await cliWithDatabase(t)
    const { code, stdout, stderr } = await cli.run(['audit', 'list'])
    assert.deepEqual([code, stdout], [0, ''])
    assert.match(stderr, /^nobody has done anything yet\. /)
    assert.match(
      (await cli.run(['audit', 'list', '--operator', 'bo'])).stderr,
      /^nothing that fits/,
    )
    assert.equal((await cli.run(['audit', 'list', '--before', 'x'])).code, 2)
  })

  it('gives what was done newest first, page by page, by whom, what and when', async (t) => {
    const cli = await cliWithDatabase(t)
    for (let n = 1; n <= 11; n += 1) {
      await noteAction(cli.pool, {
        user: n % 2 === 0 ? 'ana@desk' : 'bo@desk',
        action: n % 3 === 0 ? 'consumers.seek' : 'jobs.retry',
        filter: { n: BigInt(n) },
        count: n,
        reason: `reason ${n}`,
        detail: [n],
      })
    }
    await cli.pool.query(
      `update millrace.operator_action set at = at - interval '2 days' where id <= 4`,
    )
    const seen: string[] = []
    for (let before: readonly string[] = []; ; ) {
      const { stdout } = await cli.run(['audit', 'list', '-n', '4', '--json', ...before])
      const page = JSON.parse(stdout) as AuditPage
      seen.push(...page.items.map(({ id }) => id))
      if (page.more === null) break
      before = ['--before', page.more]
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 11 }, (_, n) => String(11 - n)),
    )
    const ids = async (...args: string[]): Promise<string[]> => {
      const { stdout } = await cli.run(['audit', 'list', '--json', ...args])
      return (JSON.parse(stdout) as AuditPage).items.map(({ id }) => id)
    }
    assert.deepEqual(await ids('--operator', 'ana@desk'), ['10', '8', '6', '4', '2'])
    assert.deepEqual(await ids('--action', 'consumers.seek'), ['9', '6', '3'])
    assert.deepEqual(await ids('--action', 'consumers'), ['9', '6', '3'])
    assert.deepEqual(await ids('--action', 'consumer'), [])
    assert.deepEqual(await ids('--since', '1d', '--action', 'consumers'), ['9', '6'])
    assert.deepEqual(await ids('--until', '1d', '--operator', 'bo@desk'), ['3', '1'])
    const table = await cli.run(['audit', 'list', '-n', '1'])
    assert.match(
      table.stdout,
      /^id +at +operator +action +count +filter +reason\n11 +\S+ \S+Z +bo@desk +jobs\.retry +11 +\{"n":"11"\} +reason 11\n$/,
    )
  })

  it('shows reasons and filters as they are, and lets none of them act on the terminal', async (t) => {
    const cli = await cliWithDatabase(t)
    const reason = 'because\u001b[2J\r\n\u202eof it'
    await noteAction(cli.pool, {
      user: 'ana',
      action: 'jobs.retry',
      filter: { a: reason },
      count: 1,
      reason,
    })
    const text = await cli.run(['audit', 'list', '--columns', 'reason,filter,detail'])
    assertHarmless(text.stdout)
    assert.equal(text.stdout.trimEnd().split('\n').length, 2)
    const [item] = (JSON.parse((await cli.run(['audit', 'list', '--json'])).stdout) as AuditPage)
      .items
    assert.deepEqual([item?.reason, item?.filter, item?.detail], [reason, { a: reason }, null])
  })

  it('has what was published from the command line, and nothing of a dry run or a failure', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.write('millrace.config.ts', CONFIG)
    const publish = (...args: string[]): ReturnType<typeof cli.run> =>
      cli.run(['events', 'publish', 'ITEM_SOLD', '--data', '{"id":"secret"}', '--json', ...args])
    assert.equal((await publish()).code, 5)
    const log = tableLog().open({ core: createCore(), pool: cli.pool })
    await log.createTopic('orders', { partitions: 1 })
    assert.equal((await publish('--dry-run')).code, 0)
    const done = await publish('--reason', 'a test', '--user', 'ana@desk', '--key', 'k')
    assert.equal(done.code, 0, done.stderr)
    const { items: published } = JSON.parse(done.stdout) as { items: { id: string }[] }
    const { stdout } = await cli.run(['audit', 'list', '--json'])
    const { items } = JSON.parse(stdout) as AuditPage
    assert.deepEqual(
      items.map(({ operator, action, filter, count, reason, detail }) => ({
        operator,
        action,
        filter,
        count,
        reason,
        detail,
      })),
      [
        {
          operator: 'ana@desk',
          action: 'events.publish',
          filter: { type: 'ITEM_SOLD', key: 'k' },
          count: 1,
          reason: 'a test',
          detail: { outcome: 'published', ids: published.map(({ id }) => id) },
        },
      ],
    )
    assert.doesNotMatch(stdout, /secret/)
  })
})
