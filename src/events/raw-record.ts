/** A header of a record. Names may repeat; order and repetitions are kept. `null` is not the empty value. */
export type Header = readonly [name: string, value: Uint8Array | null]

/** A record's own bytes, nothing decoded and nothing lost. */
export interface RawRecord {
  /** `null`: no key, so there is no order to keep. Not the same as an empty key. */
  readonly key: Uint8Array | null
  /** `null`: a tombstone. Not the same as an empty value, which is never a valid event. */
  readonly value: Uint8Array | null
  readonly headers: readonly Header[]
  /** When the record was made, as its log says. Millisecond precision. */
  readonly timestamp: Date
}

/** A record with its place in the log. */
export interface PlacedRecord extends RawRecord {
  /** The topic's name when it was read. */
  readonly topic: string
  /** The topic's identity: a topic deleted and made again has another. A UUID. */
  readonly topicId: string
  /** Counted from 0. */
  readonly partition: number
  /** Position in the partition. Offsets grow, with holes. */
  readonly offset: bigint
}
