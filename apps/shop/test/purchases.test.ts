import assert from 'node:assert/strict'
import { it } from 'node:test'
import { parsePurchases, readPurchases } from '../src/purchases.ts'

const header = 'category,household,brand,unit_price,featured,displayed'

it('reads the purchases that come with the shop', async () => {
  const purchases = await readPurchases()
  assert.equal(purchases.length, 8_502)
  assert.equal(new Set(purchases.map((p) => `${p.category}-${p.household}`)).size, 536)
  assert.deepEqual(purchases[0], {
    category: 'yogurt',
    household: '1',
    brand: 'weight',
    unitPrice: '7.90',
    featured: false,
    displayed: null,
  })
})

it('tells not recorded from no', () => {
  const [yes, no, unknown] = parsePurchases(
    `${header}\ncatsup,1,hunts32,99.00,1,1\ncatsup,1,hunts32,99.00,0,0\ncatsup,1,hunts32,99.00,,\n`,
  )
  assert.deepEqual([yes?.featured, no?.featured, unknown?.featured], [true, false, null])
  assert.deepEqual([yes?.displayed, no?.displayed, unknown?.displayed], [true, false, null])
})

it('takes line ends of Windows, and a last line without one', () => {
  const text = `${header}\r\nyogurt,1,weight,7.90,0,\r\nyogurt,2,weight,0.00,0,`
  assert.deepEqual(
    parsePurchases(text).map(({ household, displayed }) => [household, displayed]),
    [
      ['1', null],
      ['2', null],
    ],
  )
})

it('names the line that it cannot read', () => {
  const good = 'yogurt,1,weight,7.90,0,'
  const refused: readonly (readonly [text: string, problem: RegExp])[] = [
    ['a,b\n', /line 1: expected the header/],
    [`${header}\n`, /line 2: expected at least one purchase/],
    [`${header}\n${good}\nyogurt,1,weight,7.90,0\n`, /line 3: expected 6 fields/],
    [`${header}\n${good}\n\n${good}\n`, /line 3: expected 6 fields/],
    [`${header}\nyogurt,,weight,7.90,0,\n`, /line 2: expected a category, a household and a brand/],
    [`${header}\nyogurt,1,weight,cheap,0,\n`, /line 2: expected a price/],
    [`${header}\nyogurt,1,weight,7.90,maybe,\n`, /line 2: expected 0, 1 or nothing/],
  ]
  for (const [text, problem] of refused) assert.throws(() => parsePurchases(text), problem)
})
