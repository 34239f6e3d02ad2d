/** What fetching and preparing Kafka takes. */
export interface InstallOptions {
  /** Told, in a line, what takes time. */
  readonly say: (line: string) => void
  readonly signal?: AbortSignal | undefined
}
