import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { connectOperator } from '../../../src/app/operator.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { application, type Application } from '../../../src/consumer/application.ts'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { editDeadLetter } from '../../../src/dead-letter/order.ts'
import {
  getDeadLetter,
  listDeadLetterGroups,
  listDeadLetters,
} from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { deadLetter } from '../../support/dead-letters.ts'
import { job } from '../../../src/jobs/job.ts'
import { changeReplay, getReplay, orderReplay } from '../../../src/replay/order.ts'
import type { NewRecord } from '../../../src/log/port.ts'
import { outcomesOf, replayFailures } from '../../../src/replay/queries.ts'
import { bed, counted, counts, storing, type Deploy } from '../../support/replay.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

describe('a replay', () => {
  it('hands dead letters to the code that is deployed now, in order per key, and closes them', async (t) => {
    const { deploy, replay, done, open, pool } = await bed(t, 300, (n) => n % 2 === 0)
    assert.equal(await open(), 150)
    deploy.bad = () => false
    assert.deepEqual(counts(await replay({ reason: 'fixed' })), {
      state: 'finished',
      passed: 150,
      failed: 0,
      skipped: 0,
      parked: 0,
    })
    assert.equal(await open(), 0)
    const handled = await done()
    assert.deepEqual(
      handled.toSorted((a, b) => a - b),
      Array.from({ length: 300 }, (_, n) => n),
    )
    for (const key of [0, 1, 2]) {
      const replayed = handled.slice(150).filter((n) => n % 3 === key)
      assert.deepEqual(
        replayed,
        replayed.toSorted((a, b) => a - b),
      )
    }
    const { rows } = await pool.query(
      `select operator, action, count, reason from millrace.operator_action`,
    )
    assert.deepEqual(rows, [
      { operator: 'ana@test', action: 'dlq.replay', count: '150', reason: 'fixed' },
    ])
  })

  it('is worked on by the version that was started last, while others live', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table done (n int, place bigserial)')
    const topics = { numbers: { partitions: 3 } }
    const started = (codeVersion: string, bad: (n: number) => boolean): Promise<Millrace> =>
      running(t, { database: url, run: [storing({ bad })], topics, codeVersion })
    const old = await started('1.4.1', (n) => n < 12)
    await old.publishMany(
      counted,
      Array.from({ length: 30 }, (_, n) => ({ n })),
    )
    await settled(old)
    const operator = await connectOperator({ database: url, user: 'ana@test' })
    cleanup(t, () => operator.close())
    const letters = await listDeadLetters(operator.pool, { state: 'open' })
    assert.equal(letters.length, 12)
    const replay = async (id: bigint): Promise<{ passed: bigint; failed: bigint }> => {
      const order = await orderReplay(operator, { selection: { application: 'app', ids: [id] } })
      return eventually(async () => {
        const { state, passed, failed } = await getReplay(operator.pool, order.id)
        return state === 'running' ? undefined : { passed, failed }
      }) as Promise<{ passed: bigint; failed: bigint }>
    }
    const young = await started('1.4.2', () => false)
    for (const { id } of letters.slice(1)) {
      assert.deepEqual(await replay(id), { passed: 1n, failed: 0n })
    }
    await young.stop()
    assert.deepEqual(await replay(letters[0]?.id as bigint), { passed: 0n, failed: 1n })
  })

  it('leaves what fails again as the one row it was, and parks it after as many replays as it may', async (t) => {
    const { deploy, replay, open, operator } = await bed(t, 40, (n) => n >= 20)
    deploy.bad = (n) => n === 33
    const seen = await replay({ maxReplays: 2 })
    assert.deepEqual(counts(seen), {
      state: 'finished',
      passed: 19,
      failed: 1,
      skipped: 0,
      parked: 0,
    })
    const [left] = await listDeadLetters(operator.pool, { state: 'open' })
    assert.equal(left?.attempts, 2)
    assert.equal((await replay({ maxReplays: 2 })).parked, 1n)
    assert.equal(await open(), 0)
  })

  it('that fails is when its group failed last', async (t) => {
    const { replay, pool } = await bed(t, 5, (n) => n === 4)
    await writeDeadLetters(pool, [deadLetter(1)])
    await pool.query(
      `update millrace.dead_letter set created_at = created_at - interval '1 hour' * case application when 'app' then 3 else 2 end`,
    )
    const groups = async (): Promise<unknown> => {
      const { items } = await listDeadLetterGroups(pool, { sort: 'newest' })
      return items.map(({ applications, lastHour, firstSeen, lastSeen }) => [
        applications[0],
        lastHour,
        Math.round((lastSeen.getTime() - firstSeen.getTime()) / 3_600_000),
      ])
    }
    assert.deepEqual(await groups(), [
      ['billing', 0, 0],
      ['app', 0, 0],
    ])
    assert.equal((await replay()).failed, 1n)
    assert.deepEqual(await groups(), [
      ['app', 1, 3],
      ['billing', 0, 0],
    ])
    const failedIn = (await listDeadLetters(pool)).map(({ application: app, failedAt }) =>
      failedAt === null ? `${app}: none` : app,
    )
    assert.deepEqual(failedIn.sort(), ['app', 'billing: none'])
  })

  it('tries for real in a dry run, says who would pass and why the others not, and writes nothing', async (t) => {
    const { deploy, replay, done, open, pool, operator } = await bed(t, 60, (n) => n >= 30, both)
    deploy.bad = (n) => n % 10 === 5
    const jobsBefore = await jobsEver(pool)
    const tried = await replay({ dryRun: true })
    // Thirty numbers, each for two handlers, of which one can fail.
    assert.deepEqual(counts(tried), {
      state: 'finished',
      passed: 27,
      failed: 3,
      skipped: 0,
      parked: 0,
    })
    const [failure, ...others] = await replayFailures(operator.pool, tried.id)
    assert.equal(others.length, 0)
    assert.equal(failure?.count, 3n)
    assert.match(String(failure?.error.message), /[345]5 is not to be counted/)
    assert.equal(await open(), 30)
    assert.equal((await done()).length, 30)
    assert.equal(await jobsEver(pool), jobsBefore)
    const [letter] = await listDeadLetters(operator.pool, { state: 'open' })
    assert.deepEqual([letter?.attempts, letter?.replays], [1, 0])
  })

  it('tries a few first, and waits when one of them fails', async (t) => {
    const { deploy, replay, open, done, operator } = await bed(t, 200, () => true)
    deploy.bad = (n) => n === 3
    const seen = await replay({ canary: 20 })
    assert.equal(seen.state, 'paused')
    assert.match(String(seen.note), /of the first \d+, 1 failed/)
    assert.equal(seen.passed + seen.failed, 20n)
    assert.equal((await done()).length, 19)
    await changeReplay(operator, seen.id, 'resume')
    const ended = await eventually(async () => {
      const now = await getReplay(operator.pool, seen.id)
      return now.state === 'finished' && now
    })
    assert.deepEqual([ended && ended.passed, ended && ended.failed], [199n, 1n])
    assert.equal(await open(), 1)
  })

  it('stops after as many failures as it may have, and not one later', async (t) => {
    const { deploy, replay, done } = await bed(t, 100, () => true)
    deploy.bad = (n) => n % 2 === 0
    const seen = await replay({ stopAfter: 7 })
    assert.deepEqual([seen.state, seen.failed], ['stopped', 7n])
    assert.equal((await done()).length, Number(seen.passed))
    const share = await replay({ stopShare: 0.3 })
    assert.equal(share.state, 'stopped')
    assert.match(String(share.note), /% of \d+ failed/)
  })

  it('commits nothing once it is paused, and nothing ever once it is aborted', async (t) => {
    const { deploy, done, operator, replay } = await bed(t, 200, () => true)
    deploy.bad = () => false
    const { id } = await orderReplay(operator, { selection: { application: 'app' }, rate: 20 })
    await eventually(async () => (await done()).length > 0)
    await changeReplay(operator, id, 'pause', { reason: 'too fast' })
    const held = (await done()).length
    assert.equal(BigInt(held), (await getReplay(operator.pool, id)).passed)
    await assert.rejects(changeReplay(operator, id, 'pause'), { code: 'E_REPLAY_STATE' })
    await changeReplay(operator, id, 'abort')
    await assert.rejects(changeReplay(operator, id, 'resume'), { code: 'E_REPLAY_STATE' })
    await assert.rejects(changeReplay(operator, 4_711n, 'abort'), { code: 'E_REPLAY_NOT_FOUND' })
    assert.equal((await done()).length, held)
    assert.equal((await replay()).passed, BigInt(200 - held))
  })

  it('works only on what was selected', async (t) => {
    const { deploy, done, operator, replay } = await bed(t, 50, () => true)
    deploy.bad = () => false
    const all = await listDeadLetters(operator.pool, { limit: 100 })
    const ids = all.map(({ id }) => id).sort((a, b) => Number(a - b))
    const from = ids[40] as bigint
    assert.equal((await replay({ selection: { application: 'app', from } })).passed, 10n)
    const few = ids.slice(0, 3)
    assert.equal((await replay({ selection: { application: 'app', ids: few } })).passed, 3n)
    const fingerprint = all[0]?.fingerprint as string
    assert.equal(
      (await replay({ selection: { application: 'app', fingerprint: '0'.repeat(16) } })).total,
      0n,
    )
    assert.equal((await replay({ selection: { application: 'app', fingerprint } })).passed, 37n)
    assert.equal((await done()).length, 50)
  })

  it('hands over what a dead letter was edited to, and keeps the original', async (t) => {
    const { operator, replay, millrace, done, open } = await bed(t, 0, () => false)
    await millrace.log.append([
      {
        topic: 'numbers',
        key: null,
        value: Buffer.from('{"n": "six"}'),
        headers: [
          ['ce_specversion', Buffer.from('1.0')],
          ['ce_id', Buffer.from('one')],
          ['ce_source', Buffer.from('TEST')],
          ['ce_type', Buffer.from('COUNTED')],
        ],
      },
    ])
    await eventually(async () => (await open()) === 1)
    const [letter] = await listDeadLetters(operator.pool)
    const id = letter?.id as bigint
    assert.equal((await replay()).failed, 1n)
    assert.equal(await editDeadLetter(operator, id, { value: Buffer.from('{"n": 6}') }), 1)
    assert.equal((await replay()).passed, 1n)
    assert.deepEqual(await done(), [6])
    const kept = await getDeadLetter(operator.pool, id)
    assert.equal(Buffer.from(kept.value as Uint8Array).toString(), '{"n": "six"}')
    assert.deepEqual(
      [kept.state, kept.revision, kept.replays, kept.stage],
      ['replayed', 1, 1, 'validate'],
    )
    assert.deepEqual(
      (await outcomesOf(operator.pool, id)).map(({ outcome }) => outcome),
      ['failed', 'passed'],
    )
    await assert.rejects(editDeadLetter(operator, id, { value: null }), { code: 'E_DLQ_STATE' })
  })

  it('of a record that nobody could read reaches every handler, and leaves those that fail on their own', async (t) => {
    let readable = false
    const strict = event('COUNTED', {
      source: 'TEST',
      topic: 'numbers',
      schema: z.object({ n: z.int() }).refine(() => readable, 'not yet'),
    })
    const { operator, replay, millrace, done, pool } = await bed(
      t,
      0,
      () => false,
      () =>
        application('app', { floodBrake: false })
          .on(
            strict,
            inTransaction(async ({ data }, { tx }) => {
              await tx.query('insert into done (n) values ($1)', [data.n])
            }),
            { name: 'good' },
          )
          .on(
            strict,
            inTransaction(() => {
              throw permanent('never')
            }),
            { name: 'bad' },
          )
          .on(
            strict,
            inTransaction(() => {
              throw permanent('never either')
            }),
            { name: 'worse' },
          ),
    )
    await millrace.publish(counted, { n: 1 })
    await eventually(async () => (await listDeadLetters(operator.pool)).length === 1)
    readable = true
    assert.deepEqual(counts(await replay()), {
      state: 'finished',
      passed: 0,
      failed: 1,
      skipped: 0,
      parked: 0,
    })
    assert.deepEqual(await done(), [1])
    const { rows } = await pool.query(
      'select handler, state, stage from millrace.dead_letter order by id',
    )
    assert.deepEqual(rows, [
      { handler: 'bad', state: 'open', stage: 'apply' },
      { handler: 'worse', state: 'open', stage: 'apply' },
    ])
    assert.equal((await millrace.summary()).deadLetters, rows.length)
  })

  it('of what another program set aside closes nothing that nobody handles, and loses no handler', async (t) => {
    const { operator, replay, millrace, pool } = await bed(
      t,
      0,
      () => false,
      () =>
        application('app', { deadLetterTopics: ['numbers.DLT'] })
          .on(
            counted,
            inTransaction(() => {
              throw permanent('never')
            }),
            { name: 'bad' },
          )
          .on(
            counted,
            inTransaction(() => {
              throw permanent('never either')
            }),
            { name: 'worse' },
          ),
      { 'numbers.DLT': { partitions: 1 } },
    )
    const set = (n: number, more: Record<string, string>): NewRecord => ({
      topic: 'numbers.DLT',
      key: null,
      value: Buffer.from(JSON.stringify({ n })),
      headers: Object.entries({
        'kafka_dlt-original-topic': 'numbers',
        'kafka_dlt-original-partition': '\0\0\0\u0001',
        'kafka_dlt-original-offset': `\0\0\0\0\0\0\0${String.fromCharCode(n)}`,
        'kafka_dlt-exception-fqcn': 'java.lang.IllegalStateException',
        'kafka_dlt-exception-message': 'no',
        ...more,
      }).map(([name, text]) => [name, Buffer.from(text)] as const),
    })
    await millrace.log.append([
      set(1, { ce_id: 'a', ce_source: 'T', ce_type: 'COUNTED', ce_specversion: '1.0' }),
      set(2, {}),
    ])
    await eventually(async () => (await listDeadLetters(operator.pool)).length === 2)
    assert.deepEqual(counts(await replay()), {
      state: 'finished',
      passed: 0,
      failed: 2,
      skipped: 0,
      parked: 0,
    })
    const { rows } = await pool.query(
      `select handler, state, topic_id, error ->> 'message' as message from millrace.dead_letter order by id`,
    )
    assert.deepEqual(rows, [
      { handler: 'bad', state: 'open', topic_id: null, message: 'never' },
      { handler: '*', state: 'open', topic_id: null, message: 'nobody handles it: no type' },
      { handler: 'worse', state: 'open', topic_id: null, message: 'never either' },
    ])
  })

  it('says what is wrong with an order', async (t) => {
    const { operator } = await bed(t, 0, () => false)
    await assert.rejects(
      orderReplay(operator, {
        selection: { application: 'app' },
        rate: 0,
        canary: -1,
        stopShare: 2,
      }),
      /rate[\s\S]*canary[\s\S]*stopShare/,
    )
  })
})

/** Handles numbers twice: one handler that fails as deployed, and one that makes jobs. */
const both = (deploy: Deploy): Application =>
  storing(deploy).on(
    counted,
    toJob(job('note', { args: z.object({ n: z.int() }), handle: () => {} }), ({ data }) => data),
  )

async function jobsEver(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    'select (select count(*) from millrace.job)::int + (select count(*) from millrace.job_history)::int as n',
  )
  return rows[0]?.n ?? 0
}
