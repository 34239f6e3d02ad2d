import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { start } from '../../../src/app/start.ts'
import { createCore } from '../../../src/core/core.ts'
import { isMillraceError, MillraceError } from '../../../src/errors/millrace-error.ts'
import { Collector } from '../../../src/metrics/collector.ts'
import { MetricsEndpoint, type EndpointOptions } from '../../../src/metrics/endpoint.ts'
import { TableLog } from '../../../src/log/table-log.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { parseExposition } from '../../support/exposition.ts'
import { keepingLogger } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

/** An endpoint on a free port, with whatever figures. */
async function serving(
  t: TestContext,
  collect: () => Promise<string>,
  options: Partial<EndpointOptions> = {},
): Promise<{ readonly base: string; readonly lines: ReturnType<typeof keepingLogger>['lines'] }> {
  const logger = keepingLogger()
  const endpoint = new MetricsEndpoint({
    core: createCore({ logger }),
    port: 0,
    collector: { collect },
    ready: () => true,
    ...options,
  })
  await endpoint.start()
  cleanup(t, () => endpoint.stop())
  return { base: String(endpoint.url).replace('/metrics', ''), lines: logger.lines }
}

describe('the metrics endpoint', () => {
  it('answers GET and HEAD of what it has, and refuses everything else', async (t) => {
    const { base } = await serving(t, async () => Promise.resolve('a 1\n'))
    assert.match(base, /^http:\/\/127\.0\.0\.1:\d+$/)
    const got = await fetch(`${base}/metrics?x=1`)
    assert.deepEqual([got.status, await got.text()], [200, 'a 1\n'])
    assert.equal(got.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    const head = await fetch(`${base}/metrics`, { method: 'HEAD' })
    assert.deepEqual(
      [head.status, await head.text(), head.headers.get('content-length')],
      [200, '', '4'],
    )
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const refused = await fetch(`${base}/metrics`, { method })
      assert.deepEqual([refused.status, refused.headers.get('allow')], [405, 'GET, HEAD'])
      await refused.body?.cancel()
    }
    for (const path of ['/', '/metrics/', '/metrics/..', '/%2e%2e/etc/passwd', '//metrics']) {
      const nothing = await fetch(`${base}${path}`)
      assert.deepEqual([path, nothing.status], [path, 404])
      await nothing.body?.cancel()
    }
  })

  it('says whether this process lives and may work', async (t) => {
    let isReady = false
    const { base } = await serving(t, () => Promise.reject(new Error('not asked')), {
      ready: () => isReady,
    })
    assert.equal((await fetch(`${base}/livez`)).status, 200)
    assert.equal((await fetch(`${base}/readyz`)).status, 503)
    isReady = true
    assert.equal((await fetch(`${base}/readyz`)).status, 200)
  })

  it('says in few words that the figures cannot be read, and not why it is so inside', async (t) => {
    let fault: Error = new Error('secret\n    at inner (/some/file.ts:1:1)')
    const { base, lines } = await serving(t, () => Promise.reject(fault))
    const failed = await fetch(`${base}/metrics`)
    assert.deepEqual(
      [failed.status, await failed.text()],
      [503, 'the figures cannot be read just now\n'],
    )
    fault = new MillraceError('E_DB_CONNECT', 'cannot connect as user x')
    assert.equal(await (await fetch(`${base}/metrics`)).text(), 'the database does not answer\n')
    assert.equal(lines.filter(({ level }) => level === 'warn').length, 2)
  })

  it('gives up on figures that do not come, and on a request that does not', async (t) => {
    const { base } = await serving(t, () => new Promise(() => {}), { answerMs: 50 })
    const late = await fetch(`${base}/metrics`)
    assert.deepEqual([late.status, await late.text()], [503, 'the figures are not there in time\n'])
    const { port } = new URL(base)
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n')
    socket.resume()
    await once(socket, 'close')
  })

  it('ends with its process while somebody still waits for figures', async () => {
    const asked = Promise.withResolvers<void>()
    const endpoint = new MetricsEndpoint({
      core: createCore(),
      port: 0,
      collector: {
        collect() {
          asked.resolve()
          return new Promise(() => {})
        },
      },
      ready: () => true,
    })
    await endpoint.start()
    const waiting = fetch(String(endpoint.url)).catch((error: unknown) => error)
    await asked.promise
    await endpoint.stop()
    await endpoint.stop()
    assert.ok((await waiting) instanceof Error)
  })

  it('refuses a port that is taken, and options that make no sense', async (t) => {
    const { base } = await serving(t, () => Promise.resolve(''))
    const { url } = await testDatabase(t)
    const port = Number(new URL(base).port)
    await assert.rejects(
      start({ database: url, metrics: { port } }),
      (error) => isMillraceError(error) && error.code === 'E_METRICS_LISTEN',
    )
    await assert.rejects(
      start({ database: url, metrics: { port: 70_000, host: ' ' } }),
      (error) => isMillraceError(error) && /metrics\.port[^]*metrics\.host/.test(error.message),
    )
  })
})

describe('reading the figures', () => {
  it('is done once for all who ask at the same time, and for who asks within a second', async (t) => {
    const { pool } = await testDatabase(t)
    const log = new TableLog({ core: createCore(), pool })
    cleanup(t, () => log.close())
    const collector = new Collector({ core: createCore(), pool, log })
    let begun = 0
    pool.on('acquire', () => {
      begun += 1
    })
    await collector.collect()
    const alone = begun
    const all = await Promise.all(Array.from({ length: 50 }, () => collector.collect()))
    assert.equal(begun, alone)
    assert.equal(new Set(all).size, 1)
    // A second later, fifty of them cost what one does.
    await eventually(async () => {
      await Promise.all(Array.from({ length: 50 }, () => collector.collect()))
      return begun > alone
    })
    assert.equal(begun, 2 * alone)
    assert.ok(parseExposition(all[0] as string).size > 5)
  })

  it('fails when the database is away, and goes on when it is back', async (t) => {
    const { url } = await testDatabase(t)
    const nowhere = new URL(url)
    nowhere.port = '1'
    const pool = createPool(nowhere.href)
    pool.on('error', () => {})
    cleanup(t, () => pool.end())
    const log = new TableLog({ core: createCore(), pool })
    cleanup(t, () => log.close())
    const collector = new Collector({ core: createCore(), pool, log })
    const { base } = await serving(t, () => collector.collect())
    const away = await fetch(`${base}/metrics`)
    assert.deepEqual([away.status, await away.text()], [503, 'the database does not answer\n'])
    pool.options.port = Number(new URL(url).port)
    ;(pool.options as { connectionString?: string }).connectionString = url
    const back = await fetch(`${base}/metrics`)
    assert.equal(back.status, 200)
    parseExposition(await back.text())
  })
})
