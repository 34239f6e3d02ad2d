import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { fitText, safeJson, safeLine, safeLines, textWidth } from '../../../src/cli/safe-text.ts'

/** What must never reach a terminal. */
const HOSTILE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

describe('safeLine', () => {
  it('shows escapes, line ends, reordering and NUL instead of sending them', () => {
    assert.equal(safeLine('\u001b[31mred\u0007'), '\\x1b[31mred\\x07')
    assert.equal(safeLine('a\r\nb\tc'), 'a\\r\\nb\\tc')
    assert.equal(safeLine('abc\u202edef\u2066'), 'abc\\u202edef\\u2066')
    assert.equal(safeLine('a\u0000b\u009bc\u2028d'), 'a\\x00b\\x9bc\\u2028d')
    assert.equal(safeLine('\ud800 \u{e0041}'), '\\ud800 \\u{e0041}')
  })

  it('leaves writing of any language as it is', () => {
    for (const text of ['Größe', '日本語', 'שלום', 'مرحبا', 'e\u0301', '👍', 'a "b" \\c']) {
      assert.equal(safeLine(text), text)
    }
  })

  it('does not let marks pile up over the lines above', () => {
    assert.equal(safeLine(`a${'\u0301'.repeat(50)}b`), `a${'\u0301'.repeat(4)}…b`)
  })

  it('never lets anything hostile through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(safeLine(text), HOSTILE)
        assert.doesNotMatch(safeLines(text).replaceAll('\n', ''), HOSTILE)
      }),
    )
  })
})

describe('safeJson', () => {
  it('is the same value, whatever is in it, without anything hostile', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = safeJson(value)
        assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
        assert.doesNotMatch(text, HOSTILE)
      }),
    )
  })

  it('has bigints as strings and dates as ISO 8601', () => {
    const value = { offset: 9_007_199_254_740_993n, at: new Date(0) }
    assert.equal(safeJson(value), '{"offset":"9007199254740993","at":"1970-01-01T00:00:00.000Z"}')
  })

  it('keeps the line breaks of its indentation', () => {
    assert.equal(safeJson({ a: 'x\ny' }, 2), '{\n  "a": "x\\ny"\n}')
  })
})

describe('fitText', () => {
  it('cuts by the cells that a terminal needs and says that it did', () => {
    assert.equal(fitText('abcdef', 6), 'abcdef')
    assert.equal(fitText('abcdef', 4), 'abc…')
    assert.equal(fitText('日本語', 4), '日…')
    assert.equal(fitText('abc', 0), '')
  })

  it('never takes more cells than it may', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (text, width) => {
        assert.ok(textWidth(fitText(text, width)) <= width)
      }),
    )
  })
})
