import { migrate, migrationState } from '../../postgres/index.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, WRITE_OPTIONS, type OptionSet } from '../options.ts'

const DETAILED: OptionSet = {
  'detailed-exitcode': { type: 'boolean', help: 'exit 3 when migrations are pending' },
}

/** `millrace migrate` */
export const migrateCommand: Command = {
  summary: 'bring the tables of millrace to the version of this code',
  options: { ...JSON_OPTION, ...WRITE_OPTIONS, ...DETAILED, ...DATABASE_OPTIONS },
  notes: [
    'Forward only. Processes that migrate at once wait for each other; killed half-way, the next call goes on.',
    'Needs an account that may create the schema millrace.',
  ],
  examples: [
    'millrace migrate --dry-run',
    'millrace migrate --database-url postgres://owner@db/shop',
  ],
  run: (context) =>
    withOperator(context, { writes: true }, async ({ operator }) => {
      const { out, args } = context
      if (args.flag('dry-run')) {
        const { applied, pending } = await migrationState(operator.pool)
        if (out.format === 'json') out.json({ dryRun: true, applied, pending })
        else if (pending.length === 0) out.note('nothing to do: no migration is pending')
        else out.text(pending.map((name) => `would apply ${name}`).join('\n'))
        return pending.length > 0 && args.flag('detailed-exitcode') ? EXIT.changes : EXIT.ok
      }
      const { applied } = await migrate(operator.pool)
      if (out.format === 'json') out.json({ dryRun: false, applied, pending: [] })
      else if (applied.length === 0) out.note('nothing to do: no migration is pending')
      else out.text(applied.map((name) => `applied ${name}`).join('\n'))
      return EXIT.ok
    }),
}

/** `millrace migrate status` */
export const migrateStatusCommand: Command = {
  summary: 'which migrations are applied and which are pending',
  options: { ...JSON_OPTION, ...DETAILED, ...DATABASE_OPTIONS },
  examples: ['millrace migrate status --detailed-exitcode || millrace migrate'],
  run: (context) =>
    withOperator(context, {}, async ({ operator }) => {
      const { out, args } = context
      const { applied, pending } = await migrationState(operator.pool)
      if (out.format === 'json') {
        out.json({ applied, pending })
      } else {
        const rows = [
          ...applied.map((migration) => ({ migration, state: 'applied' })),
          ...pending.map((migration) => ({ migration, state: 'pending' })),
        ]
        out.table(
          [
            { name: 'migration', of: (row) => row.migration },
            { name: 'state', of: (row) => row.state },
          ],
          rows,
        )
        if (pending.length > 0) out.note(`${pending.length} pending. Apply with: millrace migrate`)
      }
      return pending.length > 0 && args.flag('detailed-exitcode') ? EXIT.changes : EXIT.ok
    }),
}
