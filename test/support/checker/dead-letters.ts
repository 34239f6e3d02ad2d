import {
  isThereIn,
  placeOf,
  readIn,
  type DeadLetterDump,
  type Dumps,
  type RecordDump,
} from './dumps.ts'
import { entriesOf, runOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I8: there is one dead letter for each record and handler that must fail, in each generation in which it was read (of an
 * event's copies, where a handler handles it once, for one of them), and for each discarded job; none besides; and its key and value are the producer's, byte for byte. That of a job that was
 * discarded while the log could not be read, or after the log had lost the record, has neither. Each is open, parked, replayed or discarded; that of a discarded job
 * is not replayed.
 */
export function checkDeadLetters(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I8')
  const { outages = false, onceHandlers = [] } = runOf(history)
  const produced = new Map(entriesOf(history, 'produce').map((entry) => [entry.id, entry]))
  const records = Map.groupBy(dumps.records, placeOf)
  const letters = Map.groupBy(dumps.deadLetters, subjectOf)
  for (const [subject, group] of letters) {
    note(group.length === 1, () => `${subject} has ${group.length} dead letters`)
  }

  const copies = Map.groupBy(dumps.records, ({ id }) => id)
  /** Whether the dead letter of one of its copies stands for that of a record. */
  const isOfCopy = (handler: string, { id }: RecordDump, generation: number): boolean =>
    onceHandlers.includes(handler) &&
    copies.get(id)?.some((copy) => letters.has(ofRecord(handler, copy, generation))) === true
  const expected = new Set<string>()
  for (const record of dumps.records) {
    const position = dumps.positions.find(
      ({ topicId, partition }) => topicId === record.topicId && partition === record.partition,
    )
    if (position === undefined) continue
    for (const generation of readIn(dumps, position, record)) {
      for (const [handler, is] of Object.entries(produced.get(record.id)?.dispositions ?? {})) {
        const subject = ofRecord(handler, record, generation)
        if (is !== 'dead') continue
        if (letters.has(subject) || !isOfCopy(handler, record, generation)) expected.add(subject)
      }
    }
  }
  const replayed = new Set(
    dumps.deadLetters.flatMap(({ jobId, state }) => (state === 'replayed' ? [jobId] : [])),
  )
  for (const { id, state } of dumps.jobs) {
    if (state === 'discarded' || replayed.has(id)) expected.add(`job ${id}`)
  }
  for (const subject of expected) {
    note(letters.has(subject), () => `${subject} failed for good and has no dead letter`)
  }
  for (const [subject, [letter]] of letters) {
    note(
      expected.has(subject),
      () => `${subject} has dead letter ${letter?.id} and did not fail for good`,
    )
  }

  const states = new Map(dumps.jobs.map(({ id, state }) => [id, state]))
  for (const { id, state, jobId } of dumps.deadLetters) {
    note(STATES.has(state), () => `dead letter ${id} is ${state}`)
    if (jobId === null) continue
    note(
      state !== 'replayed' || states.get(jobId) !== 'discarded',
      () => `dead letter ${id} is replayed, and its job ${jobId} is discarded`,
    )
  }
  for (const letter of dumps.deadLetters) {
    if (letter.offset === null) continue
    const record = records
      .get(placeOf(letter))
      ?.find((one) => isThereIn(one, letter.generation ?? 0))
    const mayLackBytes = letter.jobId !== null && (outages || record?.until !== undefined)
    if (mayLackBytes && letter.sha256 === null && letter.key === null) continue
    const entry = record === undefined ? undefined : produced.get(record.id)
    note(
      entry !== undefined && letter.sha256 === entry.sha256,
      () =>
        `dead letter ${letter.id} (${subjectOf(letter)}) has a value with SHA-256 ${letter.sha256}, the producer's is ${entry?.sha256}`,
    )
    note(
      entry !== undefined && letter.key === entry.key,
      () => `dead letter ${letter.id} has the key ${letter.key}, the producer's is ${entry?.key}`,
    )
  }
  return found
}

const STATES: ReadonlySet<string> = new Set(['open', 'parked', 'replayed', 'discarded'])

function subjectOf(letter: DeadLetterDump): string {
  return letter.jobId === null
    ? ofRecord(letter.handler, letter, letter.generation)
    : `job ${letter.jobId}`
}

function ofRecord(
  handler: string,
  at: Parameters<typeof placeOf>[0],
  generation: number | null,
): string {
  return `${handler} of ${placeOf(at)} generation ${generation ?? 0}`
}
