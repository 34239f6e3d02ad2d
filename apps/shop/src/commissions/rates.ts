/** Commission in percent of the price, per category. */
const RATE_PERCENT: Readonly<Record<string, number>> = { yogurt: 8, catsup: 5, cracker: 6 }

/** For categories that nobody has agreed on yet. */
const DEFAULT_RATE_PERCENT = 4

/** The rate of a category. Later this asks the catalog; that is why it is called where waiting is allowed. */
export function ratePercent(category: string): number {
  return RATE_PERCENT[category] ?? DEFAULT_RATE_PERCENT
}
