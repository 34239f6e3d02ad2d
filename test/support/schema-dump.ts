import type pg from 'pg'

/**
 * The `millrace` schema as text, from the catalogue: enough that whatever a migration changes shows. Partitions of days
 * are left out, for they differ from day to day.
 */
export async function dumpSchema(pool: pg.Pool): Promise<string> {
  const list = async (sql: string): Promise<string[]> =>
    (await pool.query<{ line: string }>(`select line from (${sql}) s order by 1`)).rows.map(
      ({ line }) => line,
    )
  const tables = await pool.query<{
    oid: number
    name: string
    kind: string
    options: string | null
  }>(
    `select c.oid, c.relname as name, array_to_string(c.reloptions, ', ') as options,
       case c.relkind when 'p' then ' partition by ' || pg_get_partkeydef(c.oid) else '' end as kind
     from pg_class c where c.relnamespace = 'millrace'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     order by c.relname`,
  )
  const parts: string[] = [
    '-- Made from a fresh migration by the tests; MILLRACE_UPDATE=1 npm test -- schema renews it.\n',
  ]
  for (const { oid, name, kind, options } of tables.rows) {
    const columns = await pool.query<{ line: string }>(
      `select a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
         || case when a.attidentity <> '' then ' generated always as identity' else '' end
         || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') as line
       from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`,
      [oid],
    )
    const constraints = await list(
      `select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) as line from pg_constraint where conrelid = ${oid} and contype <> 'n'`,
    )
    const indexes = await list(
      `select pg_get_indexdef(indexrelid) as line from pg_index where indrelid = ${oid}`,
    )
    parts.push(
      `table millrace.${name}${kind}${options === null ? '' : ` with (${options})`}\n` +
        [...columns.rows.map(({ line }) => line), ...constraints, ...indexes]
          .map((line) => `  ${line}\n`)
          .join(''),
    )
  }
  const sequences = await list(
    `select 'sequence millrace.' || sequencename || ' as ' || data_type || ' start ' || start_value || ' increment ' || increment_by || ' cache ' || cache_size as line
     from pg_sequences where schemaname = 'millrace'`,
  )
  parts.push(`${sequences.join('\n')}\n`)
  const functions = await list(
    `select pg_get_functiondef(oid) as line from pg_proc where pronamespace = 'millrace'::regnamespace`,
  )
  parts.push(...functions.map((definition) => `${definition.trimEnd()};\n`))
  return parts.join('\n')
}
