import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { bytesToJson, bytesToText, parseLossless } from '../../../src/cli/json-values.ts'
import { nearest } from '../../../src/cli/nearest.ts'
import { databaseName } from '../../../src/cli/database-name.ts'

describe('the nearest word', () => {
  it('is the one with a slip of the keyboard, or the one that was begun', () => {
    const words = ['jobs list', 'jobs get', 'doctor', 'migrate']
    assert.equal(nearest('jobs lst', words), 'jobs list')
    assert.equal(nearest('docotr', words), 'doctor')
    assert.equal(nearest('mig', words), 'migrate')
  })

  it('is none when nothing is near', () => {
    assert.equal(nearest('kubernetes', ['jobs', 'doctor']), undefined)
    assert.equal(nearest('', ['jobs']), undefined)
  })
})

describe('where a database URL leads', () => {
  it('is the name of the database and its host, never its user or password', () => {
    assert.equal(databaseName('postgres://ana:s3cret@db1:5432/shop'), 'shop@db1')
    assert.equal(databaseName('postgres://ana:s3cret@db1:6432/shop'), 'shop@db1:6432')
    assert.equal(databaseName('s3cret'), 'unreadable address')
  })
})

describe('values', () => {
  it('keep whole numbers that a double cannot hold, as strings', () => {
    assert.deepEqual(parseLossless('{"a":9007199254740993,"b":1,"c":1.5}'), {
      a: '9007199254740993',
      b: 1,
      c: 1.5,
    })
    assert.equal(parseLossless('nope'), undefined)
  })

  it('have bytes exactly, and as text only where they are UTF-8', () => {
    assert.deepEqual(bytesToJson(Buffer.from('ü')), { base64: 'w7w=', text: 'ü' })
    assert.deepEqual(bytesToJson(Uint8Array.of(0xff, 0)), { base64: '/wA=' })
    assert.equal(bytesToJson(null), null)
    assert.equal(bytesToText(Uint8Array.of(0xff, 0)), '(2 bytes, not text: ff 00)')
    assert.equal(bytesToText(new Uint8Array(0)), '(empty)')
  })
})
