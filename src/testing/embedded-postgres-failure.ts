import { MillraceError } from '../errors/millrace-error.ts'

const hints: readonly (readonly [RegExp, string])[] = [
  [/No space left on device|Disk quota exceeded/, 'The disk is full: make room and start again.'],
  [
    /error while loading shared libraries: (\S+?):/,
    "A system library is missing: install the package that has it (for libldap or libgssapi: your system's libldap and krb5 packages).",
  ],
  [/Library not loaded/, 'Its libraries were not found: delete node_modules and run npm ci again.'],
  [
    /could not bind|Address already in use/,
    'The port is in use: stop what uses it, or give another `port`.',
  ],
  [
    /could not (map|create|resize) .*shared memory|shmget/,
    'There is not enough shared memory: give a smaller `shared_buffers`, or more memory to this container.',
  ],
  [/too many open files/i, 'Raise the limit of open files (ulimit -n).'],
  [
    /database files are incompatible|was initialized by PostgreSQL version/,
    'These data belong to another version of PostgreSQL: keep them elsewhere and use another `directory`.',
  ],
  [
    /unrecognized configuration parameter|invalid value for parameter|syntax error in file/,
    'Correct the option `settings`.',
  ],
  [/Permission denied|EACCES/, 'Let this user enter the folder, and run programs from it.'],
  [
    /spawn .* (EPERM|EINVAL)/,
    'This root may not change to another account (a container without that right): run as an ordinary user.',
  ],
  [
    /spawn .* ENOENT/,
    'The binaries need glibc: on a musl system use a server of your own and its URL.',
  ],
]

/** An error that says what failed, why, and what to do about it, as far as PostgreSQL's words tell. */
export function serverFailure(what: string, output: string, cause?: unknown): MillraceError {
  const lines = output.trim().split('\n').slice(-12).join('\n')
  const hint = hints.find(([pattern]) => pattern.test(output))?.[1]
  const text = [`${what}.`, hint, lines && `PostgreSQL's own words:\n${lines}`].filter(Boolean)
  return new MillraceError('E_DB_CONNECT', text.join(' '), cause === undefined ? {} : { cause })
}
