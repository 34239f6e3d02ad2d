/**
 * When to stop a partition because its failures look like a bad deploy or an outage, and not like poison: many records
 * fail alike, and they are of several keys.
 */
export interface FloodLimits {
  /** Stop when more than this share of the records fails alike. */
  readonly share: number
  /** And when at least so many do. */
  readonly atLeast: number
  /** And when these are of at least so many keys. A record without a key counts as a key of its own. */
  readonly minKeys: number
  /** Beside the batch, every run of so many of the partition's last records is looked at. 0: the batch alone. */
  readonly windowRecords: number
}

/** What became of one record that somebody handles, as far as it is known. */
export interface RecordOutcome {
  /** Tells keys apart. */
  readonly key: string
  /** Fingerprints of its failures that are for good, each once. None: it goes well. */
  readonly failures: readonly string[]
}

/** A record that goes well; whose key is of no interest. */
export const GOES_WELL: RecordOutcome = { key: '', failures: [] }

/** Too many records that fail alike. */
export interface Flood {
  readonly fingerprint: string
  /** How many fail so. */
  readonly failed: number
  /** Of how many. */
  readonly records: number
  /** Over how many keys. */
  readonly keys: number
}

/**
 * Whether the failures of `batch` are a flood: of the whole batch, or of any `windowRecords` records in a row that end
 * with one of the batch that fails so. Such a run may begin in `before`, what was there before the batch, oldest first;
 * while fewer are known, those count.
 *
 * Failures in `accepted` do not count, neither as failures nor as records: somebody has said that they are really bad.
 * Of several floods, the one with the most failures in the batch; else the first one that a run shows. What is found is
 * among the failures of the batch.
 */
export function findFlood(
  before: readonly RecordOutcome[],
  batch: readonly RecordOutcome[],
  limits: FloodLimits,
  accepted: ReadonlySet<string> = new Set(),
): Flood | undefined {
  const looked = without(batch, accepted)
  return (
    floodOf(namesOf(looked), looked, limits) ??
    floodOfARun(without(before, accepted), looked, limits)
  )
}

/**
 * Whether the records that a partition was stopped for still fail, after somebody has set it going again: any share of
 * what was read since above the limit, however few have been read so far, and of however few keys.
 */
export function findRelapse(
  before: readonly RecordOutcome[],
  batch: readonly RecordOutcome[],
  { share }: Pick<FloodLimits, 'share'>,
  accepted: ReadonlySet<string> = new Set(),
): Flood | undefined {
  const looked = without(batch, accepted)
  const all = [...without(before, accepted), ...looked]
  return floodOf(namesOf(looked), all, { share, atLeast: 1, minKeys: 1 })
}

function namesOf(outcomes: readonly RecordOutcome[]): Set<string> {
  return new Set(outcomes.flatMap(({ failures }) => failures))
}

function without(
  outcomes: readonly RecordOutcome[],
  accepted: ReadonlySet<string>,
): readonly RecordOutcome[] {
  if (accepted.size === 0) return outcomes
  return outcomes.flatMap((outcome) => {
    const failures = outcome.failures.filter((fingerprint) => !accepted.has(fingerprint))
    if (failures.length === outcome.failures.length) return [outcome]
    return failures.length === 0 ? [] : [{ ...outcome, failures }]
  })
}

function floodOf(
  fingerprints: ReadonlySet<string>,
  outcomes: readonly RecordOutcome[],
  limits: Omit<FloodLimits, 'windowRecords'>,
): Flood | undefined {
  const tally = new Tally()
  for (const outcome of outcomes) tally.add(outcome)
  let worst: Flood | undefined
  for (const fingerprint of fingerprints) {
    const flood = tally.flood(fingerprint, limits)
    if (flood !== undefined && flood.failed > (worst?.failed ?? 0)) worst = flood
  }
  return worst
}

function floodOfARun(
  before: readonly RecordOutcome[],
  batch: readonly RecordOutcome[],
  limits: FloodLimits,
): Flood | undefined {
  const { windowRecords } = limits
  if (windowRecords === 0) return undefined
  const run = [...before.slice(-windowRecords), ...batch]
  const begin = run.length - batch.length
  const tally = new Tally()
  for (const [at, outcome] of run.entries()) {
    tally.add(outcome)
    const gone = run[at - windowRecords]
    if (gone !== undefined) tally.take(gone)
    if (at < begin) continue
    // The share of a fingerprint grows with a record that fails so, and with no other.
    for (const fingerprint of outcome.failures) {
      const flood = tally.flood(fingerprint, limits)
      if (flood !== undefined) return flood
    }
  }
  return undefined
}

interface Alike {
  count: number
  readonly keys: Map<string, number>
}

/** Counts records, failures and keys of a run that moves. */
class Tally {
  #records = 0
  readonly #failed = new Map<string, Alike>()

  add({ key, failures }: RecordOutcome): void {
    this.#records += 1
    for (const fingerprint of failures) {
      const alike: Alike = this.#failed.get(fingerprint) ?? { count: 0, keys: new Map() }
      this.#failed.set(fingerprint, alike)
      alike.count += 1
      alike.keys.set(key, (alike.keys.get(key) ?? 0) + 1)
    }
  }

  take({ key, failures }: RecordOutcome): void {
    this.#records -= 1
    for (const fingerprint of failures) {
      const alike = this.#failed.get(fingerprint)
      if (alike === undefined) continue
      alike.count -= 1
      const left = (alike.keys.get(key) ?? 1) - 1
      if (left === 0) alike.keys.delete(key)
      else alike.keys.set(key, left)
    }
  }

  flood(
    fingerprint: string,
    { share, atLeast, minKeys }: Omit<FloodLimits, 'windowRecords'>,
  ): Flood | undefined {
    const alike = this.#failed.get(fingerprint)
    if (alike === undefined) return undefined
    const [failed, records, keys] = [alike.count, this.#records, alike.keys.size]
    const isFlood = failed >= atLeast && failed > share * records && keys >= minKeys
    return isFlood ? { fingerprint, failed, records, keys } : undefined
  }
}
