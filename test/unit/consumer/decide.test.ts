import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decide } from '../../../src/consumer/decide.ts'
import { MillraceError, permanent } from '../../../src/errors/millrace-error.ts'

const database = (code: string): Error =>
  Object.assign(new Error(`database says ${code}`), { code, severity: 'ERROR' })

describe('what is done about a failure of a record', () => {
  it('sets aside at once what will always fail', () => {
    assert.equal(decide(permanent('no such product'), 1, 5), 'dead-letter')
    assert.equal(decide(new MillraceError('E_EVENT_INVALID', 'no price'), 1, 5), 'dead-letter')
    assert.equal(decide(database('22P02'), 1, 5), 'dead-letter')
  })

  it('tries again what may succeed later, until the attempts are spent', () => {
    assert.equal(decide(new Error('who knows'), 1, 5), 'retry')
    assert.equal(decide(database('23505'), 4, 5), 'retry')
    assert.equal(decide(database('23505'), 5, 5), 'dead-letter')
    assert.equal(decide('not even an error', 5, 5), 'dead-letter')
    assert.equal(decide(database('57014'), 5, 5), 'dead-letter')
  })

  it('waits without end for a database that is down or busy with others', () => {
    for (const code of [
      '57P01',
      '53300',
      '08006',
      'ECONNREFUSED',
      '40001',
      '40P01',
      '55P03',
      '25006',
    ]) {
      assert.equal(decide(database(code), 1_000, 5), 'wait', code)
    }
    assert.equal(decide(new Error('Connection terminated unexpectedly'), 1_000, 5), 'wait')
  })

  it('gives up a partition that belongs to somebody else, or whose position is not certain', () => {
    assert.equal(decide(new MillraceError('E_CONSUMER_NOT_OWNER', 'gone'), 1, 5), 'give-up')
    assert.equal(decide(new MillraceError('E_DB_UNKNOWN_COMMIT', 'who knows'), 1, 5), 'give-up')
  })
})
