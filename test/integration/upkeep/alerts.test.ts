import assert from 'node:assert/strict'
import { test } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { tellNewFingerprints } from '../../../src/alerts/alerts.ts'
import { start } from '../../../src/app/start.ts'
import { foldDeadLetterGroups } from '../../../src/counts/dead-letter-groups.ts'
import { writeDeadLetters, type NewDeadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { describeError } from '../../../src/errors/describe.ts'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import { job } from '../../../src/jobs/job.ts'
import type { Upkeep } from '../../../src/upkeep/upkeep.ts'
import { testDatabase } from '../../support/database.ts'
import { jobsBed, type JobsBed } from '../../support/jobs.ts'
import { keepingLogger, running } from '../../support/millrace.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import { SECRET, webhookReceiver as receiver } from '../../support/webhook.ts'

let offset = 0n

/** Dead letters of one kind: same class, another message. */
function letters(kind: string, n: number): NewDeadLetter[] {
  class Failure extends Error {}
  Object.defineProperty(Failure, 'name', { value: `${kind}Error` })
  return Array.from({ length: n }, (_, at) => ({
    application: 'search',
    handler: 'index',
    stage: 'apply',
    origin: {
      topic: 'orders',
      topicId: '0198c0de-0000-7000-8000-000000000001',
      partition: 0,
      offset: (offset += 1n),
      generation: 0,
    },
    record: null,
    event: {},
    job: null,
    error: {
      ...describeError(new Failure(`no item "secret-${at}" in row ${at}`)),
      class: `${kind}Error`,
    },
    attempts: 1,
    codeVersion: null,
    trace: {},
  }))
}

async function telling(
  bed: JobsBed,
  webhook: string,
  pace: Parameters<typeof tellNewFingerprints>[1] = {},
  timeoutMs = 300,
): Promise<Upkeep> {
  const options = { webhook, timeoutMs, headers: { authorization: `Bearer ${SECRET}` } }
  const duty = tellNewFingerprints(options, {
    backoffMs: 50,
    maxBackoffMs: 200,
    spacingMs: 0,
    intervalMs: 20,
    ...pace,
  })
  return bed.keepUp({ duties: [duty], leaseMs: 600 })
}

async function untold(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select (select count(*)::int from millrace.fingerprint where told_at is null)
       + (select count(*)::int from millrace.fingerprint_delta) as n`,
  )
  return rows[0]?.n ?? 0
}

const allTold = (bed: JobsBed): Promise<unknown> =>
  eventually(async () => (await untold(bed.pool)) === 0)

test('a fingerprint never seen before is told once, with what helps and without data', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages, headers } = await receiver(t)
  await writeDeadLetters(bed.pool, letters('First', 3))
  await telling(bed, url)
  await allTold(bed)
  const [message, ...rest] = messages
  assert.deepEqual(rest, [])
  assert.deepEqual([message?.kind, message?.more], ['dead-letter.new-fingerprint', 0])
  const [one, ...others] = message?.fingerprints ?? []
  assert.deepEqual(others, [])
  assert.match(one?.fingerprint ?? '', /^[0-9a-f]{16}$/)
  assert.deepEqual(
    { ...one, id: '', fingerprint: '', firstSeenAt: '', look: '' },
    {
      id: '',
      application: 'search',
      handler: 'index',
      stage: 'apply',
      fingerprint: '',
      error: { class: 'FirstError', code: null, message: 'no item <text> in row #' },
      count: 3,
      firstSeenAt: '',
      example: '1',
      look: '',
    },
  )
  assert.equal(one?.look, `millrace dlq list --group ${one?.fingerprint}`)
  assert.match(
    message?.text ?? '',
    /^A new kind of dead letter: search\/index: FirstError: no item <text>/,
  )
  assert.equal(headers[0]?.['idempotency-key'], message?.id)
  assert.equal(headers[0]?.['authorization'], `Bearer ${SECRET}`)
  assert.equal(headers[0]?.['content-type'], 'application/json')
  // More of the same is no news; another kind is.
  await writeDeadLetters(bed.pool, [...letters('First', 5), ...letters('Second', 1)])
  await eventually(() => messages.length === 2)
  await allTold(bed)
  assert.deepEqual(
    messages[1]?.fingerprints.map(({ error }) => error?.class),
    ['SecondError'],
  )
  assert.doesNotMatch(JSON.stringify([messages, bed.log]), /secret-/)
})

test('of data that do not match nothing is told but what kind of complaint it is', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t)
  const text = "event 'SOLD' does not match its schema:\n  - data.users.secret-ana.age: too small"
  const error = {
    class: 'MillraceError',
    code: 'E_EVENT_INVALID',
    message: text,
    issues: [{ path: 'data.users.secret-ana.age', kind: 'too_small' }],
  }
  await writeDeadLetters(
    bed.pool,
    letters('First', 1).map((letter) => ({ ...letter, error })),
  )
  await telling(bed, url)
  await allTold(bed)
  assert.equal(
    messages[0]?.fingerprints[0]?.error?.message,
    "event 'SOLD' does not match its schema: too_small",
  )
  assert.doesNotMatch(JSON.stringify(messages), /secret-/)
})

test('an error that nobody of ours wrote is told as it is, and keeps nothing else from being told', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t)
  for (const kind of ['First', 'Second', 'Third', 'Fourth'])
    await writeDeadLetters(bed.pool, letters(kind, 1))
  const odd = [
    '5',
    '{"class":1}',
    '{"class":"X","message":"y","issues":[5,null,{"kind":7,"path":"data"}]}',
  ]
  for (const [at, error] of odd.entries())
    await bed.pool.query(
      `update millrace.dead_letter set error = $1 where id = (select min(id) + $2 from millrace.dead_letter)`,
      [error, at],
    )
  await telling(bed, url)
  await allTold(bed)
  assert.deepEqual(messages[0]?.fingerprints.map(({ error }) => error?.class).toSorted(), [
    'FourthError',
    'X',
    'unknown',
    'unknown',
  ])
})

test('many at once are one message, which describes the most frequent', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t)
  const kinds = Array.from({ length: 30 }, (_, n) =>
    letters(`Kind${String.fromCharCode(97 + n)}`, 1),
  )
  await writeDeadLetters(bed.pool, [...kinds.flat(), ...letters('Frequent', 9)])
  await telling(bed, url)
  await allTold(bed)
  assert.equal(messages.length, 1)
  assert.equal(messages[0]?.fingerprints[0]?.error?.class, 'FrequentError')
  assert.deepEqual([messages[0]?.fingerprints.length, messages[0]?.more], [20, 11])
  assert.match(messages[0]?.text ?? '', /^31 new kinds of dead letters: /)
})

test('what comes while the receiver was told a moment ago waits, and comes together', async (t) => {
  const bed = await jobsBed(t)
  const at: number[] = []
  const { url, messages } = await receiver(t, (response) => {
    at.push(performance.now())
    response.end()
  })
  await telling(bed, url, { spacingMs: 4_000 })
  await writeDeadLetters(bed.pool, letters('Da', 1))
  await eventually(() => messages.length === 1)
  for (const kind of ['Db', 'Dc', 'Dd']) await writeDeadLetters(bed.pool, letters(kind, 1))
  await allTold(bed)
  assert.deepEqual(
    messages.map(({ fingerprints }) => fingerprints.length),
    [1, 3],
  )
  assert.ok((at[1] as number) - (at[0] as number) >= 3_900)
})

test('it is tried again while the receiver is down, and what it missed is told when it is back', async (t) => {
  const bed = await jobsBed(t)
  const target = await receiver(t)
  await target.close()
  await telling(bed, target.url)
  await writeDeadLetters(bed.pool, letters('Ea', 1))
  const warned = (): typeof bed.log => bed.log.filter(({ level }) => level === 'warn')
  await eventually(() => warned().length >= 2)
  const { rows } = await bed.pool.query(`select trouble from millrace.alert_delivery`)
  assert.deepEqual(rows, [{ trouble: 'it cannot be reached (ECONNREFUSED)' }])
  await writeDeadLetters(bed.pool, letters('Eb', 1))
  await target.open()
  await allTold(bed)
  assert.equal(
    new Set(target.messages.flatMap(({ fingerprints }) => fingerprints.map(({ id }) => id))).size,
    2,
  )
  assert.doesNotMatch(JSON.stringify(bed.log), new RegExp(SECRET))
})

test('an error of the receiver is no answer, and neither is a redirection', async (t) => {
  const bed = await jobsBed(t)
  const elsewhere = await receiver(t)
  const { url, messages } = await receiver(t, (response, nth) => {
    if (nth === 1) response.writeHead(500).end('sorry'.repeat(1_000))
    else if (nth === 2) response.writeHead(302, { location: elsewhere.url }).end()
    else response.writeHead(204).end()
  })
  await writeDeadLetters(bed.pool, letters('Fa', 1))
  await telling(bed, url)
  await allTold(bed)
  assert.equal(messages.length, 3)
  assert.equal(new Set(messages.map(({ id }) => id)).size, 1)
  assert.equal(elsewhere.messages.length, 0)
  assert.deepEqual(
    bed.log.flatMap(({ fields }) => (fields['trouble'] === undefined ? [] : [fields['trouble']])),
    ['it answered 500', 'it answered 302'],
  )
})

test('the wait grows with every failure, and ends where it is told to', async (t) => {
  const bed = await jobsBed(t)
  const at: number[] = []
  const { url } = await receiver(t, (response) => {
    at.push(performance.now())
    response.writeHead(503).end()
  })
  await writeDeadLetters(bed.pool, letters('Ga', 1))
  await telling(bed, url, { backoffMs: 200, maxBackoffMs: 800 })
  await eventually(() => at.length >= 6)
  const waits = at.slice(1).map((time, index) => time - (at[index] as number))
  for (const [index, atLeast] of [200, 400, 800, 800, 800].entries())
    assert.ok((waits[index] as number) >= atLeast - 20, `wait ${index}: ${waits.join(', ')}`)
})

test('a receiver that hangs or is slow holds up nothing else', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t, (response, nth) => {
    if (nth > 1) setTimeout(() => response.end(), 150)
  })
  await writeDeadLetters(bed.pool, letters('Ha', 1))
  await telling(bed, url, {}, 2_000)
  await eventually(() => messages.length === 1)
  // The first hangs for two seconds. Meanwhile a job that is due is staged.
  const due = job('due', { args: z.object({}), handle() {} })
  const id = await bed.insert(due, {}, { scheduleIn: '1ms' })
  await bed.untilState(id, 'available')
  assert.equal(messages.length, 1)
  await allTold(bed)
  assert.equal(messages.length, 2)
  assert.ok(bed.log.some(({ fields }) => fields['trouble'] === 'no answer within 2000 ms'))
})

test('stopping ends an attempt under way at once, and the next leader need not wait', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t, (response, nth) => {
    if (nth > 1) response.end()
  })
  await writeDeadLetters(bed.pool, letters('Ia', 1))
  const upkeep = await telling(bed, url, {}, 60_000)
  await eventually(() => messages.length === 1)
  const before = performance.now()
  await upkeep.stop()
  assert.ok(performance.now() - before < 5_000)
  await telling(bed, url, {}, 60_000)
  await allTold(bed)
  assert.deepEqual(messages[0]?.id, messages[1]?.id)
})

test('a leader killed between sending and noting is followed by one that sends the same again, and once', async (t) => {
  const { url, pool } = await testDatabase(t)
  const target = await receiver(t)
  await writeDeadLetters(pool, [...letters('Ja', 1), ...letters('Jb', 2)])
  const scenario = new URL('./alerts-scenario.ts', import.meta.url)
  const first = spawnNode(t, scenario, { args: [url, target.url, 'dies'] })
  assert.equal((await first.exited).signal, 'SIGKILL')
  assert.equal(target.messages.length, 1)
  const second = spawnNode(t, scenario, { args: [url, target.url] })
  await second.waitFor('ready')
  await eventually(async () => (await untold(pool)) === 0)
  // A third has nothing to say, for a restart is no news.
  const third = spawnNode(t, scenario, { args: [url, target.url] })
  await third.waitFor('ready')
  second.kill('SIGKILL')
  await eventually(async () => {
    const { rowCount } = await pool.query(
      `select from millrace.lease l join millrace.process p on p.id = l.holder
       where p.expires_at > clock_timestamp() and l.term >= 3`,
    )
    return rowCount === 1
  })
  await writeDeadLetters(pool, letters('Ja', 1))
  await eventually(async () => (await untold(pool)) === 0)
  assert.equal(target.messages.length, 2)
  assert.equal(target.messages[0]?.id, target.messages[1]?.id)
  assert.deepEqual(
    target.messages[0]?.fingerprints.map(({ id }) => id),
    target.messages[1]?.fingerprints.map(({ id }) => id),
  )
})

test('of two leaders at once only one sends', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t, (response) => setTimeout(() => response.end(), 200))
  await writeDeadLetters(bed.pool, letters('Ka', 1))
  // A leader that was stopped for long and goes on where it was believes that it leads.
  const duty = (): ReturnType<typeof tellNewFingerprints> =>
    tellNewFingerprints({ webhook: url, timeoutMs: 1_000 }, { spacingMs: 0 })
  await foldDeadLetterGroups(bed.pool)
  const parts = { core: bed.core, pool: bed.pool, waker: bed.waker, hooks: {}, historyDays: 7 }
  const { signal } = new AbortController()
  await Promise.all([
    duty().run(parts, signal),
    duty().run(parts, signal),
    duty().run(parts, signal),
  ])
  assert.equal(messages.length, 1)
  assert.equal(await untold(bed.pool), 0)
})

test('what was there long before anybody asked to be told is no news', async (t) => {
  const bed = await jobsBed(t)
  const { url, messages } = await receiver(t)
  await writeDeadLetters(bed.pool, letters('La', 1))
  await bed.pool.query(
    `update millrace.fingerprint_delta set at = clock_timestamp() - interval '2 hours'`,
  )
  await telling(bed, url)
  await eventually(
    async () => (await bed.pool.query('select from millrace.alert_delivery')).rowCount === 1,
  )
  await writeDeadLetters(bed.pool, letters('Lb', 1))
  await eventually(() => messages.length === 1)
  assert.deepEqual(
    messages[0]?.fingerprints.map(({ error }) => error?.class),
    ['LbError'],
  )
})

test('millrace tells the webhook of its options, and shows nothing of it', async (t) => {
  const { url } = await testDatabase(t)
  const target = await receiver(t)
  const logger = keepingLogger()
  const failing = job('failing', {
    args: z.object({}),
    maxAttempts: 1,
    handle() {
      throw new TypeError('no such mailbox')
    },
  })
  const millrace = await running(t, {
    database: url,
    jobs: [failing],
    alerts: { webhook: target.url, headers: { 'x-token': SECRET } },
    logger,
  })
  await millrace.insert(failing, {})
  await eventually(() => target.messages.length === 1)
  assert.deepEqual(
    target.messages[0]?.fingerprints.map(({ application, handler, stage }) => [
      application,
      handler,
      stage,
    ]),
    [[null, 'failing', 'job']],
  )
  await millrace.stop()
  assert.doesNotMatch(JSON.stringify(logger.lines), new RegExp(SECRET))
  for (const alerts of [
    { webhook: `ftp://${SECRET}` },
    { webhook: `https://u:${SECRET}@host/` },
    { webhook: SECRET },
    { webhook: target.url, headers: { 'x-token': `a\n${SECRET}` } },
    { webhook: target.url, headers: { 'a b': SECRET } },
    { webhook: target.url, timeoutMs: 1 },
  ]) {
    await assert.rejects(
      start({ database: url, alerts }),
      (error) =>
        isMillraceError(error) &&
        error.code === 'E_CONFIG_INVALID' &&
        !error.message.includes(SECRET),
    )
  }
})
