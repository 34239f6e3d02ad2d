import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { redact } from '../../../src/errors/redact.ts'

describe('redacting', () => {
  for (const text of [
    'at postgres://ana:s3cret@db1:5432/shop now',
    'postgresql://ana:s3c@s3cret@db1/shop',
    'postgres://ana@tenant:s3cret@db1/shop',
    'postgres://ana:x/s3cret@db1/shop',
    'postgres://ana:x"s3cret@db1/shop',
    'postgres://ana:99s3cret@db1/shop',
    'redis://:s3cret@cache and postgres://ana:s3cret@db1',
    "host=db1 password='s3cret' user=ana",
    'postgres://db1/shop?user=ana&password=s3cret',
    'https://auth/?client_secret=s3cret&access_token=s3cret',
    '{"url":"postgres://ana:s3cret@db1","mail":"x@y"}',
  ]) {
    it(`takes the password out of ${text}`, () => {
      assert.doesNotMatch(redact(text), /s3cret/)
      assert.match(redact(text), /\*\*\*/)
    })
  }

  for (const text of [
    'http://localhost:8025/users/x@y.z',
    'http://[::1]:4873/@scope/name',
    '{"url":"http://mail:8025","to":"x@y.z"}',
    'see https://example.org: ana@example.org knows',
    'key kept for orders/3@42',
  ]) {
    it(`leaves ${text}`, () => {
      assert.equal(redact(text), text)
    })
  }

  it('takes out nothing else', () => {
    assert.equal(
      redact('{"u":"postgres://a:b@h","m":"x@y"}'),
      '{"u":"postgres://a:***@h","m":"x@y"}',
    )
  })
})
