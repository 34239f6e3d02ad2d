import { createHash } from 'node:crypto'
import { fingerprintOf } from '../dead-letter/fingerprint.ts'
import { describeError } from '../errors/describe.ts'
import { untilAnswered, type BatchScope, type Brake } from './batch-environment.ts'
import {
  findFlood,
  findRelapse,
  GOES_WELL,
  type Flood,
  type FloodLimits,
  type RecordOutcome,
} from './flood-brake.ts'
import { probe, type ProbeOptions } from './flood-probe.ts'
import { listAcceptedFailures, triedAgainUpTo } from './flood-stops.ts'
import type { Finding, FloodEvidence } from './gaps.ts'
import type { OwnedPosition } from './positions.ts'
import type { Item, Step } from './step.ts'

/** Why a batch ends before its first dead letter: the partition is to be stopped. */
export class FloodStopReason extends Error {
  override readonly name = 'FloodStopReason'
  readonly finding: Finding
  /** Index of the first record of the batch that fails. What stands before it may be committed. */
  readonly first: number
  constructor(finding: Finding, first: number) {
    super(finding.found)
    this.finding = finding
    this.first = first
  }
}

/** Keys up to so many bytes are remembered as they are. */
const SHORT = 32

/** How often a batch is looked at while it is prepared, at most. */
const EARLY_LOOKS = 32

interface Failure {
  readonly fingerprint: string
  readonly handler: string
  readonly stage: FloodEvidence['stage']
  readonly error: unknown
}

type Known = readonly Failure[]

/**
 * The flood brake of one owned partition: looks at every batch when it has been decoded and prepared, and again before a
 * record that fails in the transaction becomes a dead letter. The rule is in `findFlood`.
 *
 * What it remembers of earlier batches ends with the ownership: a new owner may set aside `atLeast` - 1 records before it
 * sees a flood in small batches. A stop is in the database, and so is what was stopped: see `triedAgainUpTo`.
 */
export class PartitionBrake implements Brake {
  readonly #limits: FloodLimits
  /** Of what was committed, the last `windowRecords`, oldest first. */
  #before: readonly RecordOutcome[] = []
  /** The batches that were begun; not held, for they are large. */
  readonly #begun = new WeakSet<readonly Item[]>()
  readonly #position: OwnedPosition
  /** How many of its records have failed while they were prepared. */
  #failed = 0
  /** Of the batch at hand, by index; undefined: nobody handles that record. */
  #batch: readonly (RecordOutcome | undefined)[] = []
  /** What a probe of the batch at hand has shown, by index, and up to which. */
  #probed: { readonly failures: ReadonlyMap<number, Known>; readonly end: number } | undefined
  #triedAgain: Promise<bigint | undefined> | undefined
  readonly #known = new WeakMap<object, Failure>()

  constructor(limits: FloodLimits, position: OwnedPosition) {
    this.#limits = limits
    this.#position = position
  }

  async lookEarly(scope: BatchScope, items: readonly Item[]): Promise<void> {
    this.#begin(items)
    this.#failed += 1
    // Not at every failure: a look goes over the whole batch.
    if (this.#failed % Math.ceil(items.length / EARLY_LOOKS) !== 0) return
    const failures = items.map((item) => this.#failuresOf(item))
    const upTo = await this.#triedAgainUpTo(scope)
    const outcomes = outcomesOf(items, failures)
    if (this.#find(items, outcomes, { upTo, accepted: new Set() }) === undefined) return
    await this.#judge(scope, items, failures)
  }

  async look(scope: BatchScope, items: readonly Item[]): Promise<void> {
    this.#begin(items)
    const failures = items.map((item) => this.#failuresOf(item))
    this.#batch = outcomesOf(items, failures)
    if (failures.some(({ length }) => length > 0)) await this.#judge(scope, items, failures)
  }

  /** Where it may be the first of many, what stands from index `from` on is tried in a transaction that is rolled back. */
  async lookAgain(
    scope: BatchScope,
    items: readonly Item[],
    { from, at }: { readonly from: number; readonly at: number },
  ): Promise<number | undefined> {
    const certain = items.map((item) => this.#failuresOf(item))
    this.#batch = outcomesOf(items, certain)
    const upTo = await this.#triedAgainUpTo(scope)
    if (this.#probed === undefined && this.#mayBeFlood(items, certain, { at, upTo })) {
      this.#probed = await this.#probe(scope, items, { from, failed: certain[at] as Known })
    }
    const probed = this.#probed
    const failures = certain.map((known, index) => [
      ...known,
      ...(probed?.failures.get(index) ?? []).filter(
        ({ fingerprint }) => !known.some((one) => one.fingerprint === fingerprint),
      ),
    ])
    await this.#judge(scope, items.slice(0, probed?.end), failures)
    if (probed === undefined) return undefined
    const next = [...probed.failures.keys()].find((index) => index > at)
    return next ?? (probed.end === items.length ? items.length : undefined)
  }

  /** Once per batch: what is known of the last one becomes a part of what was before. */
  #begin(items: readonly Item[]): void {
    if (this.#begun.has(items)) return
    this.#begun.add(items)
    const passed = this.#batch.filter((outcome) => outcome !== undefined)
    const { windowRecords } = this.#limits
    // Not slice(-n): of 0 that is all.
    this.#before = [...this.#before, ...passed].slice(
      Math.max(0, this.#before.length + passed.length - windowRecords),
    )
    this.#batch = []
    this.#failed = 0
    this.#probed = undefined
  }

  /** Whether there would be a flood if all that stands behind index `at` failed like it, each of a key of its own. */
  #mayBeFlood(
    items: readonly Item[],
    failures: readonly Known[],
    { at, upTo }: { readonly at: number; readonly upTo: bigint | undefined },
  ): boolean {
    const worst = failures.map((known, index) => (index > at ? (failures[at] as Known) : known))
    const outcomes = outcomesOf(items, worst).map((outcome, index) =>
      index > at && outcome !== undefined ? { ...outcome, key: `?${index}` } : outcome,
    )
    return this.#find(items, outcomes, { upTo, accepted: new Set() }) !== undefined
  }

  /** Set-wise handlers apart, it is what the transaction of the whole batch would show. */
  #probe(
    scope: BatchScope,
    items: readonly Item[],
    { from, failed }: { readonly from: number; readonly failed: Known },
  ): Promise<{ readonly failures: ReadonlyMap<number, Known>; readonly end: number }> {
    const constraints = failed.some(({ error }) =>
      String((error as { code?: unknown }).code).startsWith('23'),
    )
    return untilAnswered(scope, async () => {
      const failures = new Map<number, Known>()
      const onFailure: ProbeOptions['onFailure'] = (index, one) => {
        failures.set(index, [...(failures.get(index) ?? []), this.#failureOf(one.step, one)])
      }
      const end = await probe(scope, items, { from, constraints, onFailure })
      return { failures, end }
    })
  }

  /** @throws FloodStopReason */
  async #judge(
    scope: BatchScope,
    items: readonly Item[],
    failures: readonly Known[],
  ): Promise<void> {
    const { pool, application } = scope.env
    const upTo = await this.#triedAgainUpTo(scope)
    const found = await untilAnswered(scope, () => listAcceptedFailures(pool, application))
    const accepted = new Set(found.map(({ fingerprint }) => fingerprint))
    const flood = this.#find(items, outcomesOf(items, failures), { upTo, accepted })
    if (flood === undefined) return
    const first = failures.findIndex(({ length }) => length > 0)
    throw new FloodStopReason(findingOf(scope, items, failures, flood), first)
  }

  #find(
    items: readonly Item[],
    outcomes: readonly (RecordOutcome | undefined)[],
    {
      upTo,
      accepted,
    }: { readonly upTo: bigint | undefined; readonly accepted: ReadonlySet<string> },
  ): Flood | undefined {
    const isKnown = (outcome: RecordOutcome | undefined) => outcome !== undefined
    const again = outcomes
      .filter((_, index) => upTo !== undefined && (items[index] as Item).record.offset < upTo)
      .filter(isKnown)
    const relapse = findRelapse(this.#before, again, this.#limits, accepted)
    return relapse ?? findFlood(this.#before, outcomes.filter(isKnown), this.#limits, accepted)
  }

  /** Asked once: the partition has no owner while somebody decides. */
  #triedAgainUpTo(scope: BatchScope): Promise<bigint | undefined> {
    this.#triedAgain ??= untilAnswered(scope, () => triedAgainUpTo(scope.env.pool, this.#position))
    return this.#triedAgain
  }

  /** Its failures that are certain. */
  #failuresOf({ rejected, steps }: Item): Known {
    const known = rejected === undefined ? [] : [this.#failureOf(undefined, rejected)]
    for (const step of steps) {
      if (step.failure !== undefined) known.push(this.#failureOf(step, step.failure))
    }
    return known
  }

  #failureOf(
    step: Step | undefined,
    failure: { readonly stage: FloodEvidence['stage']; readonly error: unknown },
  ): Failure {
    const { stage, error } = failure
    const known = this.#known.get(failure)
    if (known !== undefined) return known
    const handler = step?.handler.name ?? '*'
    const fingerprint = fingerprintOf({ stage, handler, error: describeError(error) })
    const made = { fingerprint, handler, stage, error }
    this.#known.set(failure, made)
    return made
  }
}

function outcomesOf(
  items: readonly Item[],
  failures: readonly Known[],
): (RecordOutcome | undefined)[] {
  return items.map((item, index) => {
    // Nobody handles it: it says nothing about anybody's handling.
    if (item.filtered !== undefined) return undefined
    const fingerprints = (failures[index] as Known).map(({ fingerprint }) => fingerprint)
    if (fingerprints.length === 0) return GOES_WELL
    return { key: keyOf(item), failures: [...new Set(fingerprints)] }
  })
}

/** A short text per key: keys may be large, and are remembered over batches. */
function keyOf({ record: { key, offset } }: Item): string {
  if (key === null) return `#${offset}`
  if (key.byteLength <= SHORT) return `=${Buffer.from(key).toString('latin1')}`
  return createHash('sha256').update(key).digest('base64').slice(0, 22)
}

function findingOf(
  { env }: BatchScope,
  items: readonly Item[],
  failures: readonly Known[],
  flood: Flood,
): Finding {
  const { fingerprint, failed, records, keys } = flood
  const isSo = (one: Failure): boolean => one.fingerprint === fingerprint
  const at = failures.findIndex((known) => known.some(isSo))
  const { record } = items[at] as Item
  const { handler, stage, error: thrown } = (failures[at] as Known).find(isSo) as Failure
  const { stack: _, ...error } = describeError(thrown)
  const who = handler === '*' ? `at ${stage}` : `for ${handler}, at ${stage}`
  const spread = `over ${keys} ${keys === 1 ? 'key' : 'keys'}`
  return {
    code: 'flood',
    found: `${failed} of ${records} records ${spread} fail alike ${who} (${fingerprint}): ${error.message.slice(0, 300)}`,
    from: record.offset,
    to: (items.at(-1) as Item).record.offset + 1n,
    evidence: {
      flood: {
        fingerprint,
        failed,
        records,
        keys,
        handler,
        stage,
        error,
        offset: String(record.offset),
        codeVersion: env.codeVersion,
      },
    },
  }
}
