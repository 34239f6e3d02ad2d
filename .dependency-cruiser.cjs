// The import law: a room imports what is lower, never what is higher; the events side and the jobs
// side never import each other. Type imports count. `node scripts/run.mjs scripts/check.ts` runs it.

// swc parses `using` and `await using`, but the visitor that dependency-cruiser walks with does not know them.
const { Visitor } = require('@swc/core/Visitor.js')
const { visitStatement } = Visitor.prototype
Visitor.prototype.visitStatement = function (statement) {
  if (statement.type !== 'UsingDeclaration') return visitStatement.call(this, statement)
  statement.decls = this.visitVariableDeclarators(statement.decls)
  return statement
}

// Lowest first. A new room gets its place here before its first file.
const floor = ['core', 'errors', 'telemetry']
const edge = ['postgres']
const shared = ['process', 'counts', 'timeline', 'target', 'control', 'lookup']
const eventsSide = [
  'events',
  'log',
  'kafka',
  'outbox',
  'capture',
  'dead-letter',
  'consumer',
  'replay',
  'projection',
  'audit',
]
const jobsSide = ['jobs', 'worker', 'upkeep']
const surfaces = ['testing', 'cli', 'web']

const below = [...floor, ...edge, ...shared]
const rooms = [
  ...below,
  ...eventsSide,
  ...jobsSide,
  'bridge',
  'alerts',
  'metrics',
  'trace',
  'app',
  ...surfaces,
]

const inRooms = (names) => `^src/(${names.join('|')})/`

/** From each room of a line, everything that is not lower in that line nor in `beneath`. */
const oneWay = (line, beneath) =>
  line.map((room, index) => ({
    name: `${room}-imports-only-lower`,
    comment: `src/${room} may import only: ${[...beneath, ...line.slice(0, index), room].join(', ')}`,
    severity: 'error',
    from: { path: inRooms([room]) },
    to: { path: '^src/', pathNot: inRooms([...beneath, ...line.slice(0, index), room]) },
  }))

module.exports = {
  forbidden: [
    ...oneWay([...floor, ...edge, ...shared], []),
    ...oneWay(eventsSide, below),
    ...oneWay(jobsSide, below),
    ...oneWay(
      ['bridge', 'alerts', 'metrics', 'trace', 'app'],
      [...below, ...eventsSide, ...jobsSide],
    ),
    ...surfaces.map((surface) => ({
      name: `${surface}-is-a-surface`,
      comment: `src/${surface} may import app, core, errors, index entries and each room's queries.ts`,
      severity: 'error',
      from: { path: inRooms([surface]) },
      to: {
        path: '^src/',
        pathNot: [
          inRooms([
            surface,
            'app',
            'core',
            'errors',
            ...(surface === 'testing' ? ['postgres'] : []),
          ]),
          '^src/index\\.ts$',
          '^src/[^/]+/index\\.ts$',
          '^src/[^/]+/queries\\.ts$',
        ],
      },
    })),
    {
      name: 'every-room-has-a-place',
      comment: 'a folder of src that .dependency-cruiser.cjs does not name has no place in the law',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: inRooms(rooms) },
      to: {},
    },
    {
      name: 'every-imported-room-has-a-place',
      comment: 'a folder of src that .dependency-cruiser.cjs does not name has no place in the law',
      severity: 'error',
      from: {},
      to: { path: '^src/[^/]+/', pathNot: inRooms(rooms) },
    },
    {
      name: 'core-imports-only-node',
      comment: 'src/core does no I/O of its own and depends on no package',
      severity: 'error',
      from: { path: inRooms(['core']) },
      to: { pathNot: inRooms(['core']), dependencyTypesNot: ['core'] },
    },
    {
      name: 'only-postgres-imports-pg',
      comment: 'the Postgres client is known in src/postgres only, its types included',
      severity: 'error',
      from: { path: '^src/', pathNot: inRooms(['postgres']) },
      to: { path: ['(^|/)node_modules/pg/', '(^|/)node_modules/@types/pg/', '^pg$'] },
    },
    {
      name: 'only-kafka-imports-its-client',
      comment: 'the Kafka client is known in src/kafka only, its types included',
      severity: 'error',
      from: { path: '^src/', pathNot: inRooms(['kafka']) },
      to: { path: ['(^|/)node_modules/@platformatic/kafka/', '^@platformatic/kafka'] },
    },
    {
      name: 'src-stands-alone',
      comment: 'src imports nothing of test, apps, bench, examples or scripts',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { path: '^(test|apps|bench|examples|scripts|tools)/' },
    },
    {
      name: 'apps-use-public-entries',
      comment:
        "an app imports 'millrace', 'millrace/kafka', 'millrace/postgres' or 'millrace/testing', as users do",
      severity: 'error',
      from: { path: '^apps/' },
      to: {
        path: '^src/',
        dependencyTypes: ['local'],
      },
    },
    {
      name: 'apps-import-no-inner-file',
      comment:
        "an app imports 'millrace', 'millrace/kafka', 'millrace/postgres' or 'millrace/testing', as users do",
      severity: 'error',
      from: { path: '^apps/' },
      to: {
        path: '^src/',
        pathNot: ['^src/index\\.ts$', '^src/(kafka|postgres|testing)/index\\.ts$'],
      },
    },
    {
      name: 'no-cycles',
      comment: 'two files that import each other cannot be understood one at a time',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'resolvable',
      comment: 'the imported file or package does not exist',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: '(^|/)node_modules/' },
    exclude: { path: '(^|/)(dist|coverage|\\.millrace)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.json', '.d.ts'],
    },
  },
}
