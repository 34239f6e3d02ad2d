import { createHash } from 'node:crypto'

/** A partition of a topic, as a plain text that is the same everywhere. */
export type PartitionName = `${string}:${number}`

/**
 * Shares partitions out over processes: rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads (after
 * Mirrokni, Thorup and Zadimoghaddam, 2018): every process draws a weight per partition, and the partition goes to the
 * highest that has room, where room is the fair share rounded up. Everybody who knows the same processes comes to the
 * same result without talking; when one comes or goes, few partitions move.
 */
export function assign(
  partitions: readonly PartitionName[],
  processes: readonly string[],
): Map<PartitionName, string> {
  const assigned = new Map<PartitionName, string>()
  if (processes.length === 0) return assigned
  const room = Math.ceil(partitions.length / processes.length)
  const load = new Map<string, number>()
  for (const partition of partitions.toSorted()) {
    const ranked = processes
      .map((process) => ({ process, weight: weight(partition, process) }))
      .sort((a, b) => (a.weight < b.weight ? 1 : a.weight > b.weight ? -1 : 0))
    const winner = ranked.find(({ process }) => (load.get(process) ?? 0) < room)
    if (winner === undefined) continue
    load.set(winner.process, (load.get(winner.process) ?? 0) + 1)
    assigned.set(partition, winner.process)
  }
  return assigned
}

function weight(partition: string, process: string): bigint {
  return createHash('sha256').update(`${partition}\n${process}`).digest().readBigUInt64BE()
}
