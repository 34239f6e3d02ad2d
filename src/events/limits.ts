/** How large and how deep the data of an event may be, for whoever publishes and for whoever reads. */
export interface DataLimits {
  /**
   * Largest value, in bytes. Default 1,048,576. Bounds 1 … 536,870,888. What Kafka takes by default is a little less, and it
   * counts key and headers as well: see `maxRecordBytes` of `kafka`.
   */
  readonly maxValueBytes?: number
  /** Deepest nesting of arrays and objects. Default 128. Bounds 1 … 1,000. */
  readonly maxDepth?: number
}

/** Default of {@link DataLimits.maxValueBytes}. */
export const DEFAULT_MAX_VALUE_BYTES = 1_048_576

/** Default of {@link DataLimits.maxDepth}. */
export const DEFAULT_MAX_DEPTH = 128

/** The longest text that the runtime can hold: a value of more bytes could not be decoded at all. */
export const GREATEST_VALUE_BYTES = 536_870_888
