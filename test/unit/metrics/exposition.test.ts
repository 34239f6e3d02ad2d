import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { formatMetrics, type MetricFamily } from '../../../src/metrics/exposition.ts'
import { parseExposition } from '../../support/exposition.ts'

const name = fc.stringMatching(/^[a-z_]{1,12}$/)

describe('the text of metrics', () => {
  it('gives a scraper every value back, whatever is in the labels', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.record({
            name,
            help: fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\r', '')),
            samples: fc.uniqueArray(
              fc.record({
                labels: fc.record({
                  application: fc.string({ unit: 'binary' }),
                  topic: fc.oneof(
                    fc.string({ unit: 'binary-ascii' }),
                    fc.constantFrom('\\', '"', '\n', '\\n', '\\"', '"} 1\n#', ''),
                  ),
                }),
                value: fc.double({ noNaN: true, noDefaultInfinity: true }),
              }),
              { minLength: 1, selector: ({ labels }) => JSON.stringify(labels) },
            ),
          }),
          { selector: (family) => family.name },
        ),
        (families) => {
          const written = families.map((family): MetricFamily => ({ ...family, type: 'gauge' }))
          const read = parseExposition(formatMetrics(written))
          assert.deepEqual(
            [...read].map(([of, { samples }]) => [of, samples.map(plain)]),
            written.map((family) => [family.name, family.samples.map(plain)]),
          )
        },
      ),
    )
  })

  it('leaves out what is not known, and a family of which nothing is', () => {
    const family = { name: 'a_total', type: 'counter', help: 'one\nline\\' } as const
    assert.equal(formatMetrics([{ ...family, samples: [] }]), '')
    assert.equal(formatMetrics([{ ...family, samples: [{ value: Number.NaN }] }]), '')
    assert.equal(
      formatMetrics([{ ...family, samples: [{ value: 3 }, { labels: { q: 'x' }, value: 0.5 }] }]),
      '# HELP a_total one\\nline\\\\\n# TYPE a_total counter\na_total 3\na_total{q="x"} 0.5\n',
    )
  })

  it('is refused by the parser of these tests when it is broken', () => {
    for (const broken of [
      'a 1\n',
      '# TYPE a gauge\na 1\n',
      '# HELP a b\n# TYPE a gauge\na 1',
      '# HELP a b\n# TYPE a gauge\na{x="1\n"} 1\n',
      '# HELP a b\n# TYPE a gauge\na{x="\\t"} 1\n',
      '# HELP a b\n# TYPE a gauge\na 1\na 2\n',
      '# HELP a b\n# TYPE a counter\na 1\n',
      '# HELP a b\n# TYPE a gauge\na 1 2 3\n',
    ])
      assert.throws(() => parseExposition(broken), Error, broken)
  })
})

/** A scraper knows neither lone surrogates nor a negative zero. */
function plain({ labels = {}, value }: MetricFamily['samples'][number]): unknown {
  return [
    Object.entries(labels).map(([label, text]) => [label, text.toWellFormed()]),
    value === 0 ? 0 : value,
  ]
}
