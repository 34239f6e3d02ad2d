import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application, type Application } from '../../../src/consumer/application.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import type { EventOf } from '../../../src/events/definition.ts'
import { flooded, ordered1, orders, store, type Flooded } from '../../support/flooded.ts'
import { assertHarmless, cliIn, type Cli } from './run-cli.ts'

const hostile = inTransaction<EventOf<typeof ordered1>>(() => {
  throw permanent('no price\u001b[2J')
})
const broken = (): Application => application('app').on(ordered1, hostile, { name: 'index' })

/** The application `app` was stopped by the flood brake in both partitions of `orders`. */
async function setup(t: TestContext): Promise<Flooded & Pick<Cli, 'run'>> {
  const all = await flooded(t, { partitions: 2 })
  await all.producer.publishMany(ordered1, orders(0, 200))
  const { millrace } = await all.start(broken())
  await all.stopped(2)
  await millrace.stop()
  const { run } = await cliIn(t, all.url)
  return { ...all, run }
}

describe('a stop of the flood brake', () => {
  it('is told by list, get and doctor, with what to do, and nothing of it reaches the terminal', async (t) => {
    const { run } = await setup(t)
    const list = await run(['consumers', 'list', '--columns', 'partition,state,reason,do'])
    assert.match(
      list.stdout,
      /^ +1 +halted +\d+ of \d+ records over \d+ keys fail alike for index, at apply .*millrace consumers resume --app app --topic orders --partition 1$/m,
    )
    assert.match(list.stderr, /app orders\/0 is halted\. Try: millrace consumers resume --app app/)
    const get = await run(['consumers', 'get', '--app', 'app', '--topic', 'orders'])
    assert.match(get.stdout, /^do +millrace consumers resume --app app --topic orders/m)
    assert.match(get.stdout, /^or +millrace consumers resume --app app --accept-failures --reason/m)
    assert.match(get.stdout, /^failing +(\d+) of \1, over \d+ keys$/m)
    assert.match(get.stdout, /^fingerprint +[0-9a-f]{16}$/m)
    assert.match(get.stdout, /^first +offset 0$/m)
    assert.match(get.stdout, /^code +1\.4\.2$/m)
    assert.match(get.stdout, /^error +MillraceError E_PERMANENT: no price\\x1b\[2J$/m)
    const doctor = await run(['doctor'])
    assert.equal(doctor.code, 1)
    assert.match(doctor.stdout, /^✗ halted partitions +2: app orders\/0 \(\d+ of \d+ records/m)
    for (const { stdout } of [list, get, doctor]) assertHarmless(stdout)
    const resolve = await run(['consumers', 'resolve', 'accept', '--app', 'app'])
    assert.equal(resolve.code, 1)
    assert.match(resolve.stderr, /its log is well.*millrace consumers resume/)
  })

  it('is taken back by resume, which says so before and after', async (t) => {
    const { run, start, caughtUp, done, stops } = await setup(t)
    const one = ['consumers', 'resume', '--app', 'app', '--topic', 'orders', '--partition', '1']
    const dry = await run([...one, '--dry-run'])
    assert.equal(dry.code, 0)
    assert.match(dry.stdout, /^would resume app\/orders\/1 at offset 0: \d+ of \d+ records.*\n$/)
    assertHarmless(dry.stdout)
    assert.equal((await stops()).length, 2)
    assert.match((await run(one)).stdout, /^resumed app\/orders\/1 at offset 0: /)
    assert.deepEqual(
      (await stops()).map(({ partition }) => partition),
      [0],
    )
    await run(['consumers', 'resume', '--app', 'app'])
    await start(application('app').on(ordered1, store, { name: 'index' }))
    await caughtUp()
    assert.equal((await done()).length, 200)
  })

  it('makes dead letters of what somebody accepts, and get says who did, and until when', async (t) => {
    const { run, start, caughtUp, deadLetters, stops } = await setup(t)
    const accept = ['consumers', 'resume', '--app', 'app', '--accept-failures', '--for', '2h']
    const reason = ['--reason', 'broken\u001b[2J', '--user', 'ana']
    const dry = await run([...accept, ...reason, '--dry-run'])
    assert.match(dry.stdout, /^would accept failures [0-9a-f]{16}$/m)
    assert.equal((await stops()).length, 2)
    const accepted = await run([...accept, ...reason, '--json'])
    assert.equal(accepted.code, 0)
    const document = JSON.parse(accepted.stdout) as {
      readonly stops: readonly unknown[]
      readonly accepted: readonly { readonly by: string; readonly expiresAt: string }[]
    }
    assert.equal(document.stops.length, 2)
    assert.deepEqual(
      document.accepted.map(({ by }) => by),
      ['ana'],
    )
    const until = new Date(document.accepted[0]?.expiresAt ?? 0).getTime() - Date.now()
    assert.ok(until > 7_000_000 && until < 7_300_000)
    await start(broken())
    await caughtUp()
    assert.equal(await deadLetters(), 200)
    const get = await run(['consumers', 'get', '--app', 'app'])
    assert.match(
      get.stderr,
      /failures [0-9a-f]{16} become dead letters until .*, accepted by ana: broken\\x1b\[2J/,
    )
    assert.match(get.stdout, /^resolved +flood: accept-failures by ana, /m)
    const again = await run(['consumers', 'resume', '--app', 'app'])
    assert.deepEqual([again.code, again.stdout], [0, ''])
    assert.match(again.stderr, /nothing was paused or stopped/)
  })
})
