import { readFile } from 'node:fs/promises'

/** One row of `data/purchases.csv`: something that a household really bought. */
export interface Purchase {
  readonly category: string
  /** Unique within its category. */
  readonly household: string
  readonly brand: string
  /** As recorded, such as `7.90`. */
  readonly unitPrice: string
  /** Whether the brand was in a newspaper's advertisement that day. `null`: not recorded. */
  readonly featured: boolean | null
  /** Whether the brand was displayed in the shop that day. `null`: not recorded. */
  readonly displayed: boolean | null
}

const FILE = new URL('../data/purchases.csv', import.meta.url)
const HEADER = 'category,household,brand,unit_price,featured,displayed'

/** The purchases that come with the shop, in the order of each household's shopping. */
export async function readPurchases(): Promise<readonly Purchase[]> {
  return parsePurchases(await readFile(FILE, 'utf8'))
}

/**
 * Parses the rows of a file of purchases. No field of it is quoted.
 * @throws Error naming the line and what is wrong there.
 */
export function parsePurchases(text: string): readonly Purchase[] {
  const [header, ...lines] = text.replace(/\r?\n$/, '').split(/\r?\n/)
  if (header !== HEADER) throw lineError(1, `expected the header ${HEADER}`, header ?? '')
  if (lines.length === 0) throw lineError(2, 'expected at least one purchase', '')
  return lines.map((line, index) => parseLine(line, index + 2))
}

function parseLine(line: string, number: number): Purchase {
  const fields = line.split(',')
  const [category = '', household = '', brand = '', unitPrice = '', featured, displayed] = fields
  if (fields.length !== 6) throw lineError(number, 'expected 6 fields', line)
  if (category === '' || household === '' || brand === '') {
    throw lineError(number, 'expected a category, a household and a brand', line)
  }
  if (!/^\d+(\.\d+)?$/.test(unitPrice)) throw lineError(number, 'expected a price', line)
  const answer = (field: string | undefined): boolean | null => {
    if (field === '') return null
    if (field === '0' || field === '1') return field === '1'
    throw lineError(number, 'expected 0, 1 or nothing', line)
  }
  return {
    category,
    household,
    brand,
    unitPrice,
    featured: answer(featured),
    displayed: answer(displayed),
  }
}

function lineError(number: number, expected: string, line: string): Error {
  return new Error(`purchases, line ${number}: ${expected}, got ${JSON.stringify(line)}`)
}
