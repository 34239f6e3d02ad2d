import assert from 'node:assert/strict'
import { getEventListeners, once } from 'node:events'
import { test } from 'node:test'
import fc from 'fast-check'
import { whenAborted } from '../../../src/core/abort.ts'

test('what waits for an abort is called once, and what was taken back is not', () => {
  fc.assert(
    fc.property(fc.array(fc.nat()), fc.array(fc.nat()), (takeBacks, more) => {
      const controller = new AbortController()
      const calls = new Map<number, number>()
      const undo: (() => void)[] = []
      const add = (): void => {
        const name = undo.length
        undo.push(whenAborted(controller.signal, () => calls.set(name, (calls.get(name) ?? 0) + 1)))
      }
      const taken = new Set<number>()
      const takeBack = (which: number): void => {
        if (undo.length === 0) return
        taken.add(which % undo.length)
        undo[which % undo.length]?.()
      }
      for (const which of takeBacks) {
        add()
        takeBack(which)
      }
      for (const which of more) {
        add()
        add()
        takeBack(which)
      }
      controller.abort()
      for (const name of undo.keys()) assert.equal(calls.get(name) ?? 0, taken.has(name) ? 0 : 1)
      for (const one of undo) one()
    }),
  )
})

test('what another has taken back meanwhile is not called any more', () => {
  const controller = new AbortController()
  const calls: string[] = []
  const undo: (() => void)[] = []
  for (const name of ['a', 'b', 'c']) {
    undo.push(
      whenAborted(controller.signal, () => {
        calls.push(name)
        for (const one of undo) one()
      }),
    )
  }
  controller.abort()
  assert.equal(calls.length, 1)
})

test('a wait that throws keeps no other from ending', async () => {
  const controller = new AbortController()
  const calls: number[] = []
  for (const n of [1, 2, 3]) {
    whenAborted(controller.signal, () => {
      calls.push(n)
      if (n === 2) throw new Error('unheard of')
    })
  }
  // What a listener throws goes to the process.
  const [runner] = process.rawListeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const heard = once(process, 'uncaughtException')
  controller.abort()
  assert.equal(calls.length, 3)
  assert.match(String(await heard), /unheard of/)
  if (runner !== undefined) process.on('uncaughtException', runner as (error: Error) => void)
})

test('nobody listens to a signal any more when nothing waits for it', () => {
  const { signal } = new AbortController()
  const first = whenAborted(signal, () => {})
  const second = whenAborted(signal, () => {})
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  first()
  second()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  whenAborted(signal, () => {})
  assert.equal(getEventListeners(signal, 'abort').length, 1)
})
