import assert from 'node:assert/strict'
import test from 'node:test'
import { RELAY_TRANSACTION_MS } from '../../src/log/relay-port.ts'
import { DEFAULT_LEASE_MS, LOOKS_PER_LEASE } from '../../src/outbox/shards.ts'
import { sharedKafka } from '../support/kafka.ts'
import { eventually } from '../support/wait.ts'
import { RelayRun } from './relay-run.ts'

// With the defaults of an installation, where a process may be silent for longer than a relay keeps its shards.
test('takes over before the log ends the transaction that a killed relay has left open', async (t) => {
  const { brokers } = await sharedKafka()
  const leaseMs = DEFAULT_LEASE_MS
  const run = await RelayRun.begin(t, brokers, { leaseMs, takeOverMs: 15_000 })
  await watchLeases(run)
  const survivor = run.relay()
  await survivor.waitFor('ready', { timeoutMs: 60_000 })
  run.startWriting()
  // The other half of the shards is given to it.
  const doomed = run.relay({ name: 'relay:produced', count: 5, signal: 'SIGKILL' })
  await doomed.trapped()
  const silentAt = await lastSign(run, doomed.name, leaseMs)
  const left = await leftOf(run, doomed.name)
  await eventually(async () => (await leftOf(run, doomed.name)) === 0)
  await run.more(100)
  await run.stopWriting()
  await run.pass()
  assert.ok(left > 0)

  const seen = await leasesOf(run)
  for (const { at, until } of seen) assert.ok(until - at <= leaseMs, `a lease of ${until - at} ms`)
  const taken = seen.filter(({ from, owner }) => from === doomed.name && owner === survivor.name)
  assert.equal(taken.length, left)
  for (const { shard, at, was } of taken) {
    // Both began before it was killed, so neither ends later than a lease after that.
    const freeAt = Math.max(was, silentAt)
    const looks = new Set(
      seen
        .filter((one) => one.from === survivor.name && one.at > freeAt && one.at < at)
        .map(({ statement }) => statement),
    )
    // The look that found it begins with a renewal. However slow the machine is, there is no other.
    assert.ok(looks.size <= 1, `${looks.size} looks went by before shard ${shard} was taken`)
  }
  const withinMs = leaseMs + leaseMs / LOOKS_PER_LEASE
  assert.ok(withinMs < RELAY_TRANSACTION_MS, `${withinMs} ms are too long`)
})

/** A change of a shard's lease, times in milliseconds of the database's clock. */
interface LeaseChange {
  readonly shard: number
  readonly at: number
  /** Which statement made it: a relay renews all of its shards in one. */
  readonly statement: string
  /** Who held it before, and who does now. */
  readonly from: string | null
  readonly owner: string | null
  /** Until when it was held, and is. */
  readonly was: number
  readonly until: number
}

/** Writes every change of a lease down. */
async function watchLeases(run: RelayRun): Promise<void> {
  await run.millrace.database.query(`
    create table lease_change (shard integer, at timestamptz, statement text, was_owner uuid, owner uuid,
      was timestamptz, until timestamptz);
    create table relay_name (id uuid primary key, name text);
    create function note_lease() returns trigger language plpgsql as $$ begin
      insert into lease_change values (new.shard, clock_timestamp(), pg_current_xact_id()::text, old.owner, new.owner,
        old.expires_at, new.expires_at);
      return null;
    end $$;
    create function note_name() returns trigger language plpgsql as $$ begin
      insert into relay_name values (new.id, new.name);
      return null;
    end $$;
    create trigger note_lease after update of expires_at on millrace.outbox_shard
      for each row execute function note_lease();
    create trigger note_name after insert on millrace.process for each row execute function note_name();`)
}

async function leasesOf(run: RelayRun): Promise<LeaseChange[]> {
  const { rows } = await run.millrace.database.query<LeaseChange>(
    `select c.shard, c.statement, f.name as from, n.name as owner, ${msOf('c.at')} as at,
       coalesce(${msOf('c.was')}, 0) as was, ${msOf('c.until')} as until
     from lease_change c left join relay_name f on f.id = c.was_owner left join relay_name n on n.id = c.owner
     order by c.at`,
  )
  return rows
}

/** Until when a relay that is silent since its last heartbeat counts among those who share the shards. */
async function lastSign(run: RelayRun, name: string, leaseMs: number): Promise<number> {
  const { rows } = await run.millrace.database.query<{ at: number }>(
    `select ${msOf('heartbeat_at')} as at from millrace.process where name = $1`,
    [name],
  )
  return (rows[0]?.at ?? 0) + leaseMs
}

/** How many shards a relay has, alive or not. */
async function leftOf(run: RelayRun, name: string): Promise<number> {
  const { rows } = await run.millrace.database.query<{ n: number }>(
    `select count(*)::integer as n from millrace.outbox_shard s join millrace.process p on p.id = s.owner
     where p.name = $1`,
    [name],
  )
  return rows[0]?.n ?? 0
}

/** A point in time as milliseconds since 1970. */
function msOf(column: string): string {
  return `(extract(epoch from ${column}) * 1000)::float8`
}
