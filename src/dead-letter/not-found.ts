import { MillraceError } from '../errors/millrace-error.ts'

/** @throws E_DLQ_NOT_FOUND */
export function throwNotFound(id: bigint): never {
  throw new MillraceError(
    'E_DLQ_NOT_FOUND',
    `there is no dead letter ${id}. See \`millrace dlq list\` for those there are.`,
    { details: { id: String(id) } },
  )
}
