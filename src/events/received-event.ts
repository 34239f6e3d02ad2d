/** An event as a handler sees it: decoded, brought to the newest version and validated. It knows nothing of offsets. */
export interface ReceivedEvent<Type extends string = string, Data = unknown> {
  /** The same for every copy of the event, however often it is delivered. */
  readonly id: string
  readonly type: Type
  /** Who published it. */
  readonly source: string
  /** When it happened, as its publisher says; the record's timestamp where it says nothing. */
  readonly time: Date
  /** Version of its data as published. `data` is already of the newest. */
  readonly version: number
  /**
   * The record's key as text, `null` if it had none. A key that is not text (not UTF-8, or with U+0000) is given as
   * `base64:` and its bytes, so that order per key holds for it too.
   */
  readonly key: string | null
  /** What the schema made of it. Numbers are IEEE doubles: a whole number past 2^53 was rounded by JSON. */
  readonly data: Data
  /** The event that began it all; its own id if it is the first. */
  readonly correlationId: string
  /** The event or job that led to this one directly. */
  readonly causationId: string | null
  /** W3C trace context. `null` if there is none, or none that is valid. */
  readonly traceparent: string | null
}
