/** `value` as JSON in which bigints are strings, for JSON has no whole numbers of that size; dates are ISO text. */
export function toJson(value: unknown, indent?: number): string | undefined {
  return JSON.stringify(
    value,
    (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item),
    indent,
  )
}
