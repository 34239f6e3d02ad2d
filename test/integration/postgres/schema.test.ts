import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { testDatabase } from '../../support/database.ts'
import { dumpSchema } from '../../support/schema-dump.ts'

const file = new URL('../../../sql/schema.sql', import.meta.url)

describe('sql/schema.sql', () => {
  it('is what a fresh migration makes', async (t) => {
    const { pool } = await testDatabase(t)
    const dump = await dumpSchema(pool)
    if (process.env['MILLRACE_UPDATE'] === '1') await writeFile(file, dump)
    assert.equal(
      await readFile(file, 'utf8'),
      dump,
      'MILLRACE_UPDATE=1 npm test -- schema renews it',
    )
  })
})
