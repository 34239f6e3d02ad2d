/** A metric as a scraper reads it. */
export interface ReadFamily {
  readonly type: string
  readonly help: string
  readonly samples: readonly {
    readonly labels: Readonly<Record<string, string>>
    readonly value: number
  }[]
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y
const LABEL = /[a-zA-Z_][a-zA-Z0-9_]*/y
const NUMBER = /(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)/y

/**
 * Reads Prometheus' text format 0.0.4, character by character and strictly, by the rules of its documentation: every family
 * once, its HELP and TYPE before its samples, all of them together, no sample twice, and an end of line behind the last.
 * Knows nothing of how it was written.
 * @throws Error naming the line.
 */
export function parseExposition(text: string): ReadonlyMap<string, ReadFamily> {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the last line does not end')
  const families = new Map<
    string,
    { type?: string; help?: string; samples: { labels: Record<string, string>; value: number }[] }
  >()
  const seen = new Set<string>()
  let current: string | undefined
  for (const [index, line] of text.split('\n').slice(0, -1).entries()) {
    const fail = (why: string): Error =>
      new Error(`line ${index + 1}: ${why}: ${JSON.stringify(line)}`)
    if (line === '') throw fail('empty')
    const begin = (name: string): NonNullable<ReturnType<typeof families.get>> => {
      if (name !== current && families.has(name)) throw fail('a family is taken up again')
      current = name
      const family = families.get(name) ?? { samples: [] }
      families.set(name, family)
      return family
    }
    const meta = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (meta !== null) {
      const [, kind, name = '', rest = ''] = meta
      const family = begin(name)
      if (family.samples.length > 0) throw fail('behind its samples')
      const field = kind === 'HELP' ? 'help' : 'type'
      if (family[field] !== undefined) throw fail('given twice')
      if (field === 'type' && !['counter', 'gauge'].includes(rest)) throw fail('no such type')
      family[field] = rest
      continue
    }
    if (line.startsWith('#')) throw fail('a comment that says nothing')
    const { name, labels, value } = parseSample(line, fail)
    const family = families.get(name)
    if (name !== current || family?.type === undefined) throw fail('a sample of no family')
    if (family.type === 'counter' && (!name.endsWith('_total') || value < 0))
      throw fail('no counter')
    const identity = JSON.stringify([name, Object.entries(labels).toSorted()])
    if (seen.has(identity)) throw fail('given twice')
    seen.add(identity)
    family.samples.push({ labels, value })
  }
  return new Map(
    [...families].map(([name, { type, help, samples }]) => {
      if (type === undefined || help === undefined || samples.length === 0)
        throw new Error(`${name} is not whole`)
      return [name, { type, help, samples }]
    }),
  )
}

function parseSample(
  line: string,
  fail: (why: string) => Error,
): { name: string; labels: Record<string, string>; value: number } {
  let at = 0
  const take = (pattern: RegExp, what: string): string => {
    pattern.lastIndex = at
    const found = pattern.exec(line)?.[0]
    if (found === undefined) throw fail(`expected ${what} at ${at}`)
    at += found.length
    return found
  }
  const expect = (character: string): void => {
    if (line[at] !== character) throw fail(`expected ${character} at ${at}`)
    at += 1
  }
  const name = take(NAME, 'a name')
  const labels: Record<string, string> = {}
  if (line[at] === '{') {
    at += 1
    for (;;) {
      const label = take(LABEL, 'a label')
      if (Object.hasOwn(labels, label)) throw fail('a label twice')
      expect('=')
      expect('"')
      let value = ''
      for (; line[at] !== '"'; at += 1) {
        const character = line[at]
        if (character === undefined) throw fail('a value without an end')
        if (character !== '\\') {
          value += character
          continue
        }
        at += 1
        const escaped = { '\\': '\\', '"': '"', n: '\n' }[line[at] ?? '']
        if (escaped === undefined) throw fail('an unknown escape')
        value += escaped
      }
      at += 1
      Object.defineProperty(labels, label, { value, enumerable: true })
      if (line[at] === ',') {
        at += 1
        continue
      }
      expect('}')
      break
    }
  }
  expect(' ')
  const number = take(NUMBER, 'a number')
  if (at !== line.length) throw fail('more than a sample')
  return { name, labels, value: Number(number.replace('Inf', 'Infinity')) }
}
