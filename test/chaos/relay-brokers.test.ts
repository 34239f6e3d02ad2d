import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanup } from '../support/cleanup.ts'
import { kafkaProxy } from '../support/kafka-proxy.ts'
import { testKafka } from '../support/kafka.ts'
import { eventually } from '../support/wait.ts'
import { kafkaAdmin, leadersOf } from './kafka/operating.ts'
import { RelayRun } from './relay-run.ts'

/** Of the requests that a relay makes: Kafka's `EndTxn`, which commits, and `Produce`. */
const REQUESTS = { Produce: 0, EndTxn: 26 } as const

for (const [name, apiKey] of Object.entries(REQUESTS)) {
  for (const direction of ['requests', 'answers'] as const) {
    const what = direction === 'requests' ? name : `the answer to ${name}`
    test(`finds out what became of its transaction when ${what} is lost`, async (t) => {
      const proxy = await kafkaProxy()
      cleanup(t, async () => proxy[Symbol.asyncDispose]())
      await testKafka(t, {
        advertise: (port) => {
          proxy.target = port
          return proxy.port
        },
      })
      const run = await RelayRun.begin(t, [`127.0.0.1:${proxy.port}`])
      const relay = run.relay()
      await relay.waitFor('ready', { timeoutMs: 60_000 })
      run.startWriting()
      await run.moreRelayed(200)
      for (let cut = 0; cut < 2; cut += 1) {
        await proxy.cutAt(apiKey, direction)
        await run.moreRelayed(100)
      }
      await run.stopWriting()
      await run.pass()
    })
  }
}

// Three of them: one that runs alone may lose the end of a transaction when it is killed, and then all wait for that.
test('loses, doubles and misorders nothing when brokers are killed under its relays', async (t) => {
  const kafka = await testKafka(t, { brokers: 3 })
  const run = await RelayRun.begin(t, kafka.brokers)
  const relays = [run.relay(), run.relay()]
  await Promise.all(relays.map((relay) => relay.waitFor('ready', { timeoutMs: 60_000 })))
  run.startWriting()
  await run.moreRelayed(150)
  const admin = kafkaAdmin(t, kafka.brokers)
  const leader = async (): Promise<number | undefined> => (await leadersOf(admin, run.topic))[0]
  const failures = (): readonly string[] => relays.flatMap((relay) => relay.failures())
  for (let kill = 0; kill < 2; kill += 1) {
    // All relays write to each partition, so they need its leader.
    const victim = await eventually(async () => {
      const id = await leader()
      return kafka.nodes.find((node) => node.id === id)
    })
    assert.ok(victim !== undefined)
    // When it dies is part of the chance; nothing waits for it.
    await sleep(run.random.next() * 300)
    const known = failures().length
    await victim.kill9()
    // The others go on without it.
    await run.moreRelayed(150)
    const next = await eventually(async () => {
      const id = await leader()
      return id !== undefined && id > 0 && id !== victim.id && id
    })
    const suffered = failures().slice(known)
    run.fault(`the kill of broker ${victim.id}`, {
      seen: victim.pid === undefined && suffered.length > 0,
      text: `broker ${String(next)} took over; relays tried again ${suffered.length} times, first because ${suffered[0]}`,
    })
    await victim.restart()
  }
  await run.moreRelayed(150)
  await run.stopWriting()
  await run.pass()
})
