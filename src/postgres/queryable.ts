/** A row as the driver gives it. */
export type Row = Record<string, unknown>

/** What a statement gave. */
export interface QueryResult<R extends Row = Row> {
  readonly rows: R[]
  readonly rowCount: number | null
}

/**
 * Anything that runs a statement: a `pg` pool or client that the user already has, or a transaction of ours.
 * Where millrace takes one to write in "the caller's transaction", it must be a client inside `begin … commit`.
 */
export interface Queryable {
  query<R extends Row = Row>(text: string, values?: readonly unknown[]): Promise<QueryResult<R>>
}
