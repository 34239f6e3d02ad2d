import type { Core } from '../core/core.ts'
import { checkConnection } from '../postgres/connect.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'

/** Node, and whether the database answers. */
export async function checkConnecting(pool: Pool): Promise<Check[]> {
  const major = Number(process.versions.node.split('.')[0])
  const node: Check = {
    id: 'node.version',
    title: 'Node',
    state: major >= 24 ? 'ok' : 'failure',
    found: process.versions.node,
    ...(major >= 24 ? {} : { fix: 'Install Node 24 or newer, and put it first on the PATH.' }),
  }
  const base = { id: 'database.reachable', title: 'database' }
  try {
    await checkConnection(pool)
    const { rows } = await pool.query<{ version: string; name: string }>(
      `/* millrace:doctor-version */ select current_setting('server_version') as version, current_database() as name`,
    )
    return [
      node,
      {
        ...base,
        state: 'ok',
        found: `PostgreSQL ${rows[0]?.version ?? ''}, database ${rows[0]?.name ?? ''}`,
      },
    ]
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error)
    const fix = 'Check --database-url or DATABASE_URL, that the server runs, and who may log in.'
    return [node, { ...base, state: 'failure', found, fix }]
  }
}

interface Settings extends Record<string, unknown> {
  readonly fsync: string
  readonly synchronous_commit: string
  readonly full_page_writes: string
  readonly autovacuum: string
  readonly isolation: string
  readonly read_only: string
  readonly encoding: string
  readonly idle_timeout: string
  readonly max_connections: number
  readonly reserved: number
  readonly used: number
  readonly standby: boolean
  readonly idle_pid: number | null
  readonly idle_seconds: number | null
}

/** Settings that decide whether what is committed stays, and whether millrace can work at all. */
export async function checkSettings(pool: Pool, poolSize: number): Promise<Check[]> {
  const { rows } = await pool.query<Settings>(
    `/* millrace:doctor-settings */ select current_setting('fsync') as fsync,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('full_page_writes') as full_page_writes, current_setting('autovacuum') as autovacuum,
       current_setting('default_transaction_isolation') as isolation,
       current_setting('default_transaction_read_only') as read_only, current_setting('server_encoding') as encoding,
       current_setting('idle_in_transaction_session_timeout') as idle_timeout,
       current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int as reserved,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used,
       pg_is_in_recovery() as standby, idle.pid as idle_pid, idle.seconds as idle_seconds
     from (values (1)) one
     left join lateral (
       select pid, extract(epoch from clock_timestamp() - state_change)::int as seconds from pg_stat_activity
       where datname = current_database() and state like 'idle in transaction%'
         and state_change < clock_timestamp() - interval '1 minute'
       order by state_change limit 1
     ) idle on true`,
  )
  const s = rows[0] as Settings
  const verdict = (
    id: string,
    title: string,
    found: string,
    bad: 'warning' | 'failure' | undefined,
    fix: string,
  ): Check => ({
    id: `database.${id}`,
    title,
    found,
    state: bad ?? 'ok',
    ...(bad === undefined ? {} : { fix }),
  })
  const free = s.max_connections - s.reserved - s.used
  return [
    verdict(
      'primary',
      'writable primary',
      s.standby ? 'a standby' : s.read_only === 'on' ? 'read-only' : 'yes',
      s.standby || s.read_only === 'on' ? 'failure' : undefined,
      'Connect to the primary, with default_transaction_read_only = off.',
    ),
    verdict(
      'isolation',
      'isolation',
      s.isolation,
      s.isolation === 'read committed' ? undefined : 'failure',
      'The table log needs read committed: alter role … set default_transaction_isolation = "read committed".',
    ),
    verdict(
      'encoding',
      'encoding',
      s.encoding,
      s.encoding === 'UTF8' ? undefined : 'failure',
      "Make the database with encoding 'UTF8'.",
    ),
    verdict(
      'fsync',
      'fsync',
      s.fsync,
      s.fsync === 'on' ? undefined : 'warning',
      'Set fsync = on: without it a crash of the machine may destroy the database.',
    ),
    verdict(
      'full-page-writes',
      'full_page_writes',
      s.full_page_writes,
      s.full_page_writes === 'on' ? undefined : 'warning',
      'Set full_page_writes = on: without it a crash may leave torn pages.',
    ),
    verdict(
      'synchronous-commit',
      'synchronous_commit',
      s.synchronous_commit,
      s.synchronous_commit === 'off' ? 'warning' : undefined,
      'Set synchronous_commit = on: with off the last commits may be gone after a crash, though they were confirmed.',
    ),
    verdict(
      'autovacuum',
      'autovacuum',
      s.autovacuum,
      s.autovacuum === 'on' ? undefined : 'failure',
      'Set autovacuum = on: the table of jobs is rewritten all the time and grows without bound otherwise.',
    ),
    verdict(
      'connections',
      'connections',
      `${s.used} of ${s.max_connections} used, ${s.reserved} reserved; a process takes up to ${poolSize}`,
      free >= poolSize ? undefined : 'warning',
      'Raise max_connections, lower poolSize, or end idle sessions.',
    ),
    verdict(
      'idle-in-transaction',
      'idle in transaction',
      idleFound(s),
      s.idle_pid === null ? undefined : 'warning',
      `End it (select pg_terminate_backend(${s.idle_pid ?? ''})), and set idle_in_transaction_session_timeout = '1min': it holds back vacuum and the readers of the log.`,
    ),
  ]
}

function idleFound({
  idle_pid: pid,
  idle_seconds: seconds,
  idle_timeout: timeout,
}: Settings): string {
  const limit = timeout === '0' ? 'no limit set' : `limit ${timeout}`
  return pid === null
    ? `no session for more than a minute; ${limit}`
    : `session ${pid} for ${seconds ?? 0} s; ${limit}`
}

/**
 * Whether a notification sent over one connection arrives at another. A pooler in transaction mode swallows it without a
 * word; so does one that moves us to another backend between two statements, which shows in the backend's pid.
 */
export async function checkListening(core: Core, pool: Pool, timeoutMs: number): Promise<Check[]> {
  const base = { id: 'database.listen', title: 'notifications' }
  const fix =
    'Point --database-url at PostgreSQL itself, or let the pooler work in session mode. Without notifications everything still works, by polling.'
  const token = core.ids.uuid()
  // The name needs no quoting: hexadecimal digits after a prefix.
  const channel = `millrace_doctor_${token.replaceAll('-', '')}`
  const listening = await pool.connect()
  const done = new AbortController()
  let arrived = false
  listening.on('error', () => done.abort())
  listening.on('notification', (notification) => {
    if (notification.channel !== channel || notification.payload !== token) return
    arrived = true
    done.abort()
  })
  try {
    await listening.query(`/* millrace:doctor-listen */ listen ${channel}`)
    const startedMs = core.clock.monotonicMs()
    await pool.query('/* millrace:doctor-notify */ select pg_notify($1, $2)', [channel, token])
    // Rejects when it is ended: by the notification, or because the connection broke.
    if (!arrived) await core.clock.sleep(timeoutMs, { signal: done.signal }).catch(() => {})
    const tookMs = Math.max(1, Math.round(core.clock.monotonicMs() - startedMs))
    if (arrived) return [{ ...base, state: 'ok', found: `arrive, in ${tookMs} ms` }]
    return [
      {
        ...base,
        state: 'warning',
        found: `sent, but nothing arrived within ${timeoutMs} ms: a pooler in transaction mode swallows them`,
        fix,
      },
    ]
  } finally {
    // Never back into the pool: a session that listens is not like the others.
    listening.release(true)
  }
}

/** The difference between this machine's clock and the database's. The database's decides; ours is only shown. */
export async function checkClock(core: Core, pool: Pool): Promise<Check[]> {
  const startedMs = core.clock.monotonicMs()
  const { rows } = await pool.query<{ ms: number }>(
    `/* millrace:doctor-clock */ select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
  )
  const halfMs = (core.clock.monotonicMs() - startedMs) / 2
  const aheadMs = Math.round(core.clock.now().getTime() - halfMs - (rows[0]?.ms ?? 0))
  const found = `this machine is ${Math.abs(aheadMs)} ms ${aheadMs >= 0 ? 'ahead of' : 'behind'} the database`
  const base = { id: 'database.clock', title: 'clock', found }
  if (Math.abs(aheadMs) <= 1_000 + halfMs) return [{ ...base, state: 'ok' }]
  return [
    {
      ...base,
      state: 'warning',
      fix: "Let both keep time by NTP. Who owns what is decided by the database alone; times of events are this machine's.",
    },
  ]
}
