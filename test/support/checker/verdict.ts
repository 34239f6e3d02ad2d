/** What is checked. The numbers are those of the list of invariants in the design of the faults. */
export const INVARIANTS = {
  I1: 'nothing is lost: every record below the position has exactly one disposition per handler',
  I2: 'one job per application, handler and record',
  I3: 'positions are honest and never go back',
  I4: 'an effect in the database is there once, and only if its record or job was done',
  I5: 'an effect outside happens at least once, and is applied once',
  I6: 'what is ordered by key is done in that order',
  I7: 'nobody changes what belongs to somebody else, or what is over',
  I8: 'the dead letters balance, byte for byte',
  I9: 'attempts are bounded, and wait as long as was promised',
  I10: 'what operators do is in the audit, once, by the transaction that did it',
  I13: 'it comes to rest after the last fault',
  I14: 'what was acknowledged to a producer is in the log, once',
  I16: 'a replay is the sum of its outcomes, one for each dead letter, and changes nothing that is over',
} as const

/** One of {@link INVARIANTS}. */
export type Invariant = keyof typeof INVARIANTS

/** An invariant that does not hold, and the smallest thing that shows it. */
export interface Violation {
  readonly invariant: Invariant
  readonly witness: string
}

/** What the checker says about a run. `unknown`: no fault of it was seen, so it shows nothing. */
export interface Verdict {
  readonly result: 'pass' | 'violation' | 'unknown'
  readonly violations: readonly Violation[]
  /** Why it is unknown. */
  readonly doubts: readonly string[]
}

/** A verdict for people: the first violations of each invariant. */
export function describeVerdict({ result, violations, doubts }: Verdict): string {
  const groups = Map.groupBy(violations, ({ invariant }) => invariant)
  const lines = [...groups].flatMap(([invariant, found]) => [
    `${invariant} (${INVARIANTS[invariant]}): ${found.length}`,
    ...found.slice(0, 5).map(({ witness }) => `    ${witness}`),
  ])
  return [result, ...lines, ...doubts.map((doubt) => `unknown: ${doubt}`)].join('\n  ')
}

/** Makes the function by which a check notes what it finds. */
export function collect(invariant: Invariant): {
  readonly found: Violation[]
  readonly note: (holds: boolean, witness: () => string) => void
} {
  const found: Violation[] = []
  return {
    found,
    note: (holds, witness) => {
      if (!holds) found.push({ invariant, witness: witness() })
    },
  }
}
