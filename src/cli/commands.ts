import type { Command } from './command.ts'

/** A command as it is found; the rest of it is only loaded when it is called. */
export interface CommandEntry {
  readonly name: string
  /** One line in the overview. */
  readonly summary: string
  load(): Promise<Command>
}

/** Every command there is. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'start',
    summary: 'run the applications and jobs of the config until told to stop',
    load: async () => (await import('./commands/start.ts')).startCommand,
  },
  {
    name: 'migrate',
    summary: 'bring the tables of millrace to the version of this code',
    load: async () => (await import('./commands/migrate.ts')).migrateCommand,
  },
  {
    name: 'migrate status',
    summary: 'which migrations are applied and which are pending',
    load: async () => (await import('./commands/migrate.ts')).migrateStatusCommand,
  },
  {
    name: 'jobs list',
    summary: 'jobs, newest first',
    load: async () => (await import('./commands/jobs-list.ts')).jobsListCommand,
  },
  {
    name: 'jobs get',
    summary: 'one job with its args, attempts and errors',
    load: async () => (await import('./commands/jobs-get.ts')).jobsGetCommand,
  },
  {
    name: 'jobs retry',
    summary: 'make jobs available again, now',
    load: async () => (await import('./commands/jobs-change.ts')).jobsRetryCommand,
  },
  {
    name: 'jobs cancel',
    summary: 'stop jobs on purpose',
    load: async () => (await import('./commands/jobs-change.ts')).jobsCancelCommand,
  },
  {
    name: 'dlq groups',
    summary: 'dead letters by what caused them',
    load: async () => (await import('./commands/dlq-groups.ts')).dlqGroupsCommand,
  },
  {
    name: 'dlq sample',
    summary: 'samples of a group, and what its dead letters have in common',
    load: async () => (await import('./commands/dlq-sample.ts')).dlqSampleCommand,
  },
  {
    name: 'dlq search',
    summary: 'dead letters by what they carry, and by what their error says',
    load: async () => (await import('./commands/dlq-search.ts')).dlqSearchCommand,
  },
  {
    name: 'dlq list',
    summary: 'dead letters, newest first',
    load: async () => (await import('./commands/dlq-list.ts')).dlqListCommand,
  },
  {
    name: 'dlq get',
    summary: 'one dead letter with its origin, error and bytes',
    load: async () => (await import('./commands/dlq-get.ts')).dlqGetCommand,
  },
  {
    name: 'dlq replay',
    summary: 'let the application work through its dead letters again',
    load: async () => (await import('./commands/dlq-replay.ts')).dlqReplayCommand,
  },
  {
    name: 'dlq edit',
    summary: 'give a dead letter another value for its replays',
    load: async () => (await import('./commands/dlq-edit.ts')).dlqEditCommand,
  },
  {
    name: 'dlq discard',
    summary: 'close dead letters that nobody needs, with a reason',
    load: async () => (await import('./commands/dlq-discard.ts')).dlqDiscardCommand,
  },
  {
    name: 'replays list',
    summary: 'replays, newest first',
    load: async () => (await import('./commands/replays.ts')).replaysListCommand,
  },
  {
    name: 'replays get',
    summary: 'one replay: how far it is, and why dead letters did not pass',
    load: async () => (await import('./commands/replays.ts')).replaysGetCommand,
  },
  {
    name: 'replays create',
    summary: 'hand past records of a topic to one handler again',
    load: async () => (await import('./commands/replays-create.ts')).replaysCreateCommand,
  },
  {
    name: 'replays pause',
    summary: 'hold a replay back',
    load: async () => (await import('./commands/replays.ts')).replaysPauseCommand,
  },
  {
    name: 'replays resume',
    summary: 'let a replay go on that was paused, or stopped by its limit',
    load: async () => (await import('./commands/replays.ts')).replaysResumeCommand,
  },
  {
    name: 'replays abort',
    summary: 'end a replay for good',
    load: async () => (await import('./commands/replays.ts')).replaysAbortCommand,
  },
  {
    name: 'consumers list',
    summary: 'how far every application is in every partition',
    load: async () => (await import('./commands/consumers-list.ts')).consumersListCommand,
  },
  {
    name: 'consumers get',
    summary: 'an application partition by partition: what it waits for, and what to do',
    load: async () => (await import('./commands/consumers-get.ts')).consumersGetCommand,
  },
  {
    name: 'consumers pause',
    summary: 'hold an application, topic or partition back',
    load: async () => (await import('./commands/consumers-pause.ts')).consumersPauseCommand,
  },
  {
    name: 'consumers resume',
    summary: 'let what was paused, or stopped by the flood brake, go on',
    load: async () => (await import('./commands/consumers-resume.ts')).consumersResumeCommand,
  },
  {
    name: 'consumers seek',
    summary: 'move an application to another place in a topic',
    load: async () => (await import('./commands/consumers-seek.ts')).consumersSeekCommand,
  },
  {
    name: 'consumers resolve',
    summary: 'decide about partitions that were stopped because their log changed',
    load: async () => (await import('./commands/consumers-resolve.ts')).consumersResolveCommand,
  },
  {
    name: 'outbox status',
    summary: 'what was published in transactions and is not in the log yet',
    load: async () => (await import('./commands/outbox.ts')).outboxStatusCommand,
  },
  {
    name: 'outbox accept',
    summary: 'let stopped shards of the outbox go on',
    load: async () => (await import('./commands/outbox.ts')).outboxAcceptCommand,
  },
  {
    name: 'events tail',
    summary: 'records of a topic, or of all, as they come',
    load: async () => (await import('./commands/events-tail.ts')).eventsTailCommand,
  },
  {
    name: 'events publish',
    summary: 'publish events of a type that the config knows',
    load: async () => (await import('./commands/events-publish.ts')).eventsPublishCommand,
  },
  {
    name: 'audit list',
    summary: 'what operators did, newest first',
    load: async () => (await import('./commands/audit-list.ts')).auditListCommand,
  },
  {
    name: 'trace',
    summary: 'what an event, job or dead letter led to, and what it waited for',
    load: async () => (await import('./commands/trace.ts')).traceCommand,
  },
  {
    name: 'doctor',
    summary: 'check database, migrations, partitions and processes, with a fix for each',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
  {
    name: 'healthcheck',
    summary: 'probe for containers: exit 0 or 1',
    load: async () => (await import('./commands/healthcheck.ts')).healthcheckCommand,
  },
  {
    name: 'version',
    summary: 'the versions of millrace and Node',
    load: async () => (await import('./commands/version.ts')).versionCommand,
  },
]
