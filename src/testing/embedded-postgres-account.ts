import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { MillraceError } from '../errors/millrace-error.ts'

/** The system account that PostgreSQL runs as when this process is root. */
export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

const accountVariable = 'MILLRACE_POSTGRES_USER'

/**
 * The account to run PostgreSQL as: undefined for an ordinary user, who runs it himself; for root the one that
 * `MILLRACE_POSTGRES_USER` names, else `postgres`, else `nobody`. No account is ever made.
 *
 * @throws E_DB_CONNECT when this is root and there is no such account.
 */
export function serverAccount(): Account | undefined {
  if (process.geteuid?.() !== 0) return undefined
  const wanted = process.env[accountVariable]
  const accounts = readAccounts()
  const names = wanted ? [wanted] : ['postgres', 'nobody']
  const account = names.map((name) => accounts.get(name)).find((found) => found !== undefined)
  if (account === undefined || account.uid === 0) {
    throw new MillraceError(
      'E_DB_CONNECT',
      `PostgreSQL does not run as root, and there is no account ${names.join(' or ')} to run it as. ` +
        `Run this as an ordinary user, or name an existing account in ${accountVariable}.`,
    )
  }
  return account
}

function readAccounts(): Map<string, Account> {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [name = '', , uid, gid] = line.split(':')
        // macOS writes nobody's ids as -2.
        return [name, { name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }]
      }),
  )
}

/** Whether the account may run (`x`: also enter, for a directory) or write (`w`) what is at `path`. */
export function accountMay(account: Account, access: 'x' | 'w', path: string): boolean {
  const { uid, gid } = account
  const { status } = spawnSync('/bin/sh', ['-c', `test -${access} "$1"`, 'sh', path], {
    uid,
    gid,
    cwd: '/',
    stdio: 'ignore',
  })
  return status === 0
}
