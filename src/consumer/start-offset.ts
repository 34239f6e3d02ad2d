import type { Log, PartitionOffsets } from '../log/port.ts'
import type { StartPosition } from './application.ts'

/** The offset that `start` means in a partition that reaches as far as `range`. An offset outside of it is drawn to its nearer end. */
export async function startOffset(
  log: Log,
  topicId: string,
  range: Pick<PartitionOffsets, 'partition' | 'start' | 'end'>,
  start: StartPosition,
): Promise<bigint> {
  if (start === 'beginning') return range.start
  if (start === 'end') return range.end
  if ('time' in start) return log.offsetAt(topicId, range.partition, start.time)
  const { offset } = start
  return offset < range.start ? range.start : offset > range.end ? range.end : offset
}
