import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { jsonLogger, type JsonLoggerOptions } from '../../../src/telemetry/json-logger.ts'

function setup(options: JsonLoggerOptions = {}) {
  const lines: string[] = []
  const logger = jsonLogger({ ...options, write: (line) => lines.push(line) })
  const first = (): Record<string, unknown> => JSON.parse(lines[0] ?? '') as Record<string, unknown>
  return { lines, logger, first }
}

describe('a line of the log', () => {
  it('has its own time, level and message, whatever fields are called', () => {
    const { logger, first } = setup()
    logger.child({ level: 'x' }).warn({ at: 'then', message: 'theirs', n: 1n }, 'ours')
    const { at, ...rest } = first()
    assert.match(String(at), /^\d{4}-\d\d-\d\dT/)
    assert.deepEqual(rest, {
      level: 'warn',
      message: 'ours',
      'fields.level': 'x',
      'fields.at': 'then',
      'fields.message': 'theirs',
      n: '1',
    })
  })

  it('shows no password, not even one with an @ in it', () => {
    const { lines, logger } = setup()
    const error = new Error('no route to postgres://ana:s3c@s3cret@db1/shop')
    logger.error({ error, url: 'postgres://ana:s3cret@db1' }, 'no database')
    assert.doesNotMatch(lines.join('\n'), /s3cret/)
  })

  it('escapes what a terminal would act on, hide or reorder, and stays the same JSON', () => {
    const { lines, logger, first } = setup()
    const hostile = 'a\u202eb\u009b2Jc\u007fd\u2028e\nf\u{e0041}g'
    logger.info({ hostile }, 'seen')
    assert.doesNotMatch(lines[0] ?? '', /[\p{C}\p{Zl}\p{Zp}]/u)
    assert.equal(first()['hostile'], hostile)
  })
})
