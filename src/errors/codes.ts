/**
 * Every error code that millrace throws, with what it means and what to do next. Codes are stable: they may be
 * matched on, logged and searched for. Areas: CONFIG, EVENT, LOG, CONSUMER, JOB, DB, OUTBOX, METRICS, DLQ, REPLAY, TRACE, CLI.
 */
export const ERROR_CODES = {
  E_CONFIG_INVALID: 'Options are wrong; all problems are listed. Correct them and start again.',
  E_EVENT_INVALID:
    'Data does not match the schema of its event or job. Correct the data, or the schema.',
  E_EVENT_UNDECODABLE:
    'The bytes of a record cannot be read as what its headers say. It becomes a dead letter.',
  E_EVENT_VERSION:
    'A record has a version of its type that no upcaster reaches. Deploy code that knows it, then replay.',
  E_EVENT_TOO_LARGE:
    'A value is larger or nested deeper than its limit. Raise the limit, or make the value smaller.',
  E_EVENT_REFUSED:
    'The log refuses a record for what it is or where it goes, and will again. Mend the topic, or leave the record out.',
  E_LOG_UNKNOWN_TOPIC: 'The topic does not exist in the log. Create it, or correct the name.',
  E_LOG_TOPIC_EXISTS: 'A topic of that name exists with another number of partitions.',
  E_LOG_CONNECT:
    'No broker can be reached, or none lets us in. Check the addresses, that they run, TLS and the login.',
  E_LOG_VERSION: 'The broker is too old. Kafka 3.7 or newer is needed.',
  E_LOG_UNAVAILABLE:
    'The log did not answer in time, or a partition has no leader just now. Nothing was written; try again.',
  E_LOG_REFUSED: 'The log refuses what was asked, and will again. The message says why.',
  E_LOG_UNKNOWN_APPEND:
    'Nobody can say whether all records were written, or only a part was. Look before repeating.',
  E_LOG_NOT_TRANSACTIONAL:
    'This log cannot write in a database transaction. Publish through the outbox, or without a transaction.',
  E_LOG_FENCED:
    'Another process writes there now, under the same name. Nothing was written; the other one goes on.',
  E_CONSUMER_NOT_OWNER:
    'Another process owns the partition now, or an operator moved its position. Nothing was written; it is read on from where it is.',
  E_CONSUMER_NOT_FOUND:
    'There is no application of that name, or it does not read such a topic or partition. See `millrace consumers list`.',
  E_CONSUMER_STATE:
    'The position is in a state in which this cannot be done to it. See `millrace consumers get`.',
  E_JOB_STALE:
    'The attempt is over: the job was taken back and belongs to somebody else. Nothing was written.',
  E_JOB_TIMEOUT: 'A handler took longer than its time-out. The attempt failed.',
  E_JOB_CRASHED:
    'The process ended while this job was running, as often as it may. The job is discarded.',
  E_JOB_NOT_FOUND: 'There is no such job in the hot table or in the history.',
  E_JOB_STATE: 'The job is in a state in which this cannot be done to it.',
  E_PERMANENT: 'The handler says that this will never succeed.',
  E_HANDLER: 'A handler threw an error of its own.',
  E_DB_CONNECT:
    'The database cannot be reached. Check its address, that it runs, and who may log in.',
  E_DB_UNKNOWN_COMMIT:
    'The connection broke during COMMIT and the outcome could not be found out. Look before repeating.',
  E_DB_MIGRATION:
    'A migration could not be applied, or the database is of another version than the code.',
  E_DB_VERSION: 'PostgreSQL is older than 15. Upgrade it.',
  E_OUTBOX_STATE:
    'The shard of the outbox is not stopped, or cannot go on where it is told to. See `millrace outbox status`.',
  E_METRICS_LISTEN:
    'The address for /metrics cannot be listened on. Choose another port, or 0 for a free one.',
  E_DLQ_NOT_FOUND: 'There is no dead letter with that number.',
  E_DLQ_STATE:
    'The dead letter is in a state in which this cannot be done to it. See `millrace dlq get`.',
  E_REPLAY_NOT_FOUND: 'There is no replay with that number. See `millrace replays list`.',
  E_REPLAY_STATE:
    'The replay is in a state in which this cannot be done to it. See `millrace replays get`.',
  E_TRACE_NOT_FOUND:
    'Nothing is kept of that id, number or place. The message says where was looked, and what to try.',
  E_CLI_USAGE: 'The command line is wrong. See `millrace --help`.',
  E_CLI_NO_DATABASE:
    'No place names a database. Pass --database-url, or set MILLRACE_DATABASE_URL.',
  E_CLI_NO_KAFKA:
    'Brokers are named, and the Kafka client is missing: npm install @platformatic/kafka',
  E_CLI_CONFIG: 'The config is missing, or cannot be loaded. Pass --config, or correct it.',
  E_CLI_NOT_FOUND: 'There is nothing of that name or number. See the list of what there is.',
  E_CLI_NO_PERMISSION: 'The database does not allow it. Use an account that may.',
  E_CLI_NOT_CONFIRMED: 'It would need a yes, and nobody gave one. Pass --yes, or use a terminal.',
} as const

/** One of the codes of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES
