import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanup } from '../support/cleanup.ts'
import { kafkaProxy } from '../support/kafka-proxy.ts'
import { testKafka } from '../support/kafka.ts'
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
  for (const node of kafka.nodes.slice(0, 2)) {
    // When it dies is part of the chance; nothing waits for it.
    await sleep(run.random.next() * 300)
    await node.kill9()
    assert.equal(node.pid, undefined)
    // The others go on without it.
    await run.moreRelayed(150)
    await node.restart()
  }
  await run.moreRelayed(150)
  await run.stopWriting()
  await run.pass()
})
