import { createHash, randomBytes } from 'node:crypto'
import pg from 'pg'
import { cleanup, type TestScope } from './cleanup.ts'

export type { TestScope } from './cleanup.ts'

import { knownMigrations, migrate } from '../../src/postgres/migrate.ts'

/** Key of the advisory lock under which the template is made; a number of our own choosing. */
const templateLock = 771_402_118

/** A database of one test. */
export interface TestDatabase {
  readonly name: string
  /** Connection URL, with the rights of a superuser. */
  readonly url: string
  /** At most 10 connections; ended with the test. */
  readonly pool: pg.Pool
}

/**
 * Makes a migrated database for one test, in some 30 ms: a clone of a template that the first caller of a run migrates.
 * At the end of the test it is dropped, whoever is still connected.
 */
export async function testDatabase(t: TestScope): Promise<TestDatabase> {
  const name = `test_${process.pid}_${randomBytes(6).toString('hex')}`
  await withAdmin(async (admin) => {
    const template = await migratedTemplate(admin)
    await admin.query(`create database ${name} template ${template}`)
  })
  const url = databaseUrl(name)
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  pool.on('error', () => {
    // A test may end the server's sessions; the query that needs one gets the error too.
  })
  cleanup(t, async () => {
    await pool.end()
    await withAdmin((admin) => admin.query(`drop database if exists ${name} with (force)`))
  })
  return { name, url, pool }
}

/** The URL of the run's server, for tests that need rights over the server itself. */
export function adminUrl(): string {
  const url = process.env['MILLRACE_TEST_DATABASE_URL']
  if (!url)
    throw new Error(
      'MILLRACE_TEST_DATABASE_URL is not set: run this file with `npm test -- <part of its path>`',
    )
  return url
}

function databaseUrl(database: string): string {
  const url = new URL(adminUrl())
  url.pathname = `/${database}`
  return url.href
}

async function withAdmin<T>(action: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: adminUrl() })
  await admin.connect()
  try {
    return await action(admin)
  } finally {
    await admin.end()
  }
}

/** The template's name. Its migrations are in the name, so that a server that outlives a run serves the next as well. */
async function migratedTemplate(admin: pg.Client): Promise<string> {
  const checksums = (await knownMigrations()).map(({ checksum }) => checksum).join()
  const hash = createHash('sha256').update(checksums).digest('hex').slice(0, 12)
  const name = `millrace_template_${hash}`
  if (await isTemplate(admin, name)) return name
  await admin.query('select pg_advisory_lock($1)', [templateLock])
  try {
    if (await isTemplate(admin, name)) return name
    // One without the mark is what a crash has left half-migrated.
    await admin.query(`drop database if exists ${name} with (force)`)
    await admin.query(`create database ${name}`)
    const pool = new pg.Pool({ connectionString: databaseUrl(name), max: 2 })
    try {
      await migrate(pool)
    } finally {
      await pool.end()
    }
    await admin.query(`alter database ${name} with is_template true`)
    return name
  } finally {
    await admin.query('select pg_advisory_unlock($1)', [templateLock])
  }
}

async function isTemplate(admin: pg.Client, name: string): Promise<boolean> {
  const found = await admin.query('select from pg_database where datname = $1 and datistemplate', [
    name,
  ])
  return found.rowCount === 1
}
