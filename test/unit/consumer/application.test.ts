import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application, type Application, type OnOptions } from '../../../src/consumer/application.ts'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import type { Definition } from '../../../src/events/definition.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { tombstone } from '../../../src/events/tombstone.ts'

describe('the flood brake of an application', () => {
  it('has limits where nothing is said, keeps those that are, and is off where it is false', () => {
    const limits = { share: 0.5, atLeast: 20, minKeys: 2, windowRecords: 100 }
    assert.deepEqual(application('a').options.floodBrake, limits)
    const { options } = application('a', { floodBrake: { atLeast: 5, windowRecords: 0 } })
    assert.deepEqual(options.floodBrake, { ...limits, atLeast: 5, windowRecords: 0 })
    assert.equal(application('a', { floodBrake: false }).options.floodBrake, false)
  })

  it('refuses limits that are none, and one that is never reached, all at once', () => {
    const floodBrake = { share: 1, atLeast: 0, minKeys: 1.5, windowRecords: -1 }
    assert.throws(
      () => application('a', { floodBrake }),
      /floodBrake\.share: [^]*atLeast: [^]*minKeys: [^]*windowRecords: expected a whole number from 0 to 100000, got -1/,
    )
    assert.throws(
      () => application('a', { batchRecords: 10, floodBrake: { windowRecords: 15 } }),
      /floodBrake\.atLeast: expected at most the larger of .*, 15: more are never looked at, got 20/,
    )
    assert.throws(() => application('a', { floodBrake: true as never }), /floodBrake: expected/)
    assert.throws(() => application('a', { floodBrake: null as never }), /floodBrake: expected/)
  })
})

describe('a handler that is to handle an event once', () => {
  const schema = z.object({ id: z.string() })
  const on = (definition: Definition, once: NonNullable<OnOptions<never>['once']>): Application =>
    application('a').on(
      definition,
      inTransaction(() => {}),
      { once },
    )
  const paid = event('PAID', { source: 'BANK', topic: 'paid', schema })

  it('remembers events for as long as it says, from a second to a year', () => {
    assert.equal(on(paid, '7d').registrations[0]?.onceMs, 7 * 86_400_000)
    assert.equal(on(paid, 1_000).registrations[0]?.onceMs, 1_000)
    assert.equal(on(paid, '365d').registrations[0]?.onceMs, 365 * 86_400_000)
    for (const wrong of ['999ms', '366d', 0, -1, Number.NaN, '7 days', true]) {
      assert.throws(
        () => on(paid, wrong as never),
        /once: expected a time from 1 second to 365 days, as '7d' or in milliseconds, got/,
      )
    }
    const plain = application('a').on(
      paid,
      inTransaction(() => {}),
    )
    assert.equal(plain.registrations[0]?.onceMs, undefined)
  })

  it('needs events that have an id of their own', () => {
    assert.ok(on(foreign('prices', { schema, id: ({ id }) => id }), '1h'))
    assert.throws(
      () => on(foreign('prices', { schema }), '1h'),
      /once: expected a definition of FOREIGN:prices with \{ id \}: without it every record has an id of its own/,
    )
    assert.throws(
      () => on(tombstone('paid'), '1h'),
      /once: expected no such option for TOMBSTONE:paid/,
    )
  })
})

describe('deadLetterTopics', () => {
  it('takes names of topics, or names of headers for them', () => {
    const headers = { topic: 't', partition: 'p', offset: 'o', message: 'm' }
    const { options, topics } = application('a', {
      deadLetterTopics: { constructor: { headers }, 'b.DLT': {} },
    })
    assert.deepEqual(topics, ['constructor', 'b.DLT'])
    assert.deepEqual(options.deadLetterTopics.get('constructor'), { headers })
    assert.deepEqual(application('a', { deadLetterTopics: ['b.DLT'] }).topics, ['b.DLT'])
  })

  it('says everything that is wrong with them', () => {
    const wrong = (deadLetterTopics: unknown): unknown =>
      assert.throws(
        () => application('a', { deadLetterTopics } as never),
        (error: unknown) => {
          assert.ok(isMillraceError(error) && error.code === 'E_CONFIG_INVALID')
          seen.push(...(error.details?.['problems'] as string[]))
          return true
        },
      )
    const seen: string[] = []
    wrong('b.DLT')
    wrong([7])
    wrong({ 'a b': {} })
    wrong({ b: null })
    wrong({ b: { header: {} } })
    wrong({ b: { headers: {} } })
    wrong({ b: { headers: ['x'] } })
    wrong({ b: { headers: { topic: 't', orgin: 'x', message: '' } } })
    const fields = 'topic, partition, offset, timestamp, attempts, class, cause, message, stack'
    const topics = 'deadLetterTopics: expected names of topics, or { <topic>: { headers } }, got'
    const b = `deadLetterTopics['b']`
    assert.deepEqual(seen, [
      `${topics} "b.DLT"`,
      `${topics} [7]`,
      `${topics} {"a b":{}}`,
      `${b}: expected { headers }, got null`,
      `${b}.header: expected no such option, only headers, got {}`,
      `${b}.headers: expected { <one of these>: <name of a header> }: ${fields}, got {}`,
      `${b}.headers: expected { <one of these>: <name of a header> }: ${fields}, got ["x"]`,
      `${b}.headers.orgin: expected one of these instead: ${fields}, got "x"`,
      `${b}.headers.message: expected the name of a header, got ""`,
      `${b}.headers: expected all of topic, partition and offset, or none: only together they say where a record failed, got ["topic"]`,
    ])
  })
})
