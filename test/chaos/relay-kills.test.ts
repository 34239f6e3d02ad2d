import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { sharedKafka } from '../support/kafka.ts'
import { eventually } from '../support/wait.ts'
import { RELAY_FAILPOINTS } from './failpoints.ts'
import { RelayRun, type RelayProcess } from './relay-run.ts'

const KILLS = 20

test('loses, doubles and misorders nothing when a relay is killed', {
  concurrency: 2,
}, async (t) => {
  const { brokers } = await sharedKafka()
  await Promise.all(
    RELAY_FAILPOINTS.map((name) =>
      t.test(`at ${name}`, async (inner) => {
        const run = await RelayRun.begin(inner, brokers)
        run.startWriting()
        const doomed = run.relay({ name, count: 3, signal: 'SIGKILL' })
        await doomed.trapped()
        run.relay()
        await run.more(300)
        await run.stopWriting()
        await run.pass()
      }),
    ),
  )
})

test(`loses, doubles and misorders nothing when relays are killed ${KILLS} times under load`, async (t) => {
  const { brokers } = await sharedKafka()
  const run = await RelayRun.begin(t, brokers)
  const relays: RelayProcess[] = [run.relay(), run.relay(), run.relay()]
  await Promise.all(relays.map((relay) => relay.waitFor('ready', { timeoutMs: 60_000 })))
  run.startWriting()
  await run.more(200)
  const before = await run.handOvers()
  for (let kill = 0; kill < KILLS; kill += 1) {
    // Only one that holds shards is worth it.
    const at = await eventually(async () => {
      const names = await holders(run)
      const held = relays.flatMap(({ name }, index) => (names.has(name) ? [index + 1] : []))
      return held[Math.floor(run.random.next() * held.length)]
    })
    const victim = relays[(at as number) - 1] as RelayProcess
    // When it dies is part of the chance; nothing waits for it.
    await sleep(run.random.next() * 300)
    await victim.kill9()
    relays[(at as number) - 1] = run.relay()
  }
  await run.more(200)
  await run.stopWriting()
  await run.pass()
  assert.ok((await run.handOvers()) - before >= KILLS)
})

test('shuts out a relay that was stopped in a transaction until another had taken over', async (t) => {
  const { brokers } = await sharedKafka()
  const run = await RelayRun.begin(t, brokers)
  run.startWriting()
  const stopped = run.relay({ name: 'relay:produced', count: 5, signal: 'SIGSTOP' })
  await stopped.trapped()
  const before = await run.handOvers()
  const other = run.relay()
  await other.waitFor('ready', { timeoutMs: 60_000 })
  await eventually(async () => (await run.handOvers()) >= before + 4)
  await run.more(100)
  stopped.kill('SIGCONT')
  await eventually(() => stopped.output.includes('E_LOG_FENCED'))
  await run.more(300)
  await run.stopWriting()
  await run.pass()
})

/** The names of the relays that hold shards. */
async function holders(run: RelayRun): Promise<Set<string>> {
  const { rows } = await run.millrace.database.query<{ name: string }>(
    `select distinct p.name from millrace.outbox_shard s join millrace.process p on p.id = s.owner
     where p.expires_at > clock_timestamp()`,
  )
  return new Set(rows.map(({ name }) => name))
}
