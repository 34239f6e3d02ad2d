/** Whether `text` can name a kind or a queue: 1 to 200 characters, none of them a control character. */
export function isName(text: unknown): text is string {
  if (typeof text !== 'string' || text.length === 0 || text.length > 200) return false
  return text.isWellFormed() && !/\p{Cc}/u.test(text)
}
