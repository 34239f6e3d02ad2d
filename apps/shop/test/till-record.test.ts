import assert from 'node:assert/strict'
import { it } from 'node:test'
import { readPurchases } from '../src/purchases.ts'
import { breakageOf, receiptOf, tillRecord } from '../src/tills/till-record.ts'

const purchases = await readPurchases()
const rows = purchases.length
const textOf = (number: number): string =>
  Buffer.from(tillRecord(purchases, number).value).toString()

it('writes a purchase as plain JSON under the key of its household', () => {
  const { key, value } = tillRecord(purchases, 0)
  assert.equal(Buffer.from(key ?? []).toString(), 'yogurt-1')
  assert.deepEqual(JSON.parse(Buffer.from(value).toString()), {
    receipt: 'R1-000001',
    household: 'yogurt-1',
    category: 'yogurt',
    brand: 'weight',
    price: 7.9,
    featured: false,
  })
})

it('begins again with new receipts after the last purchase', () => {
  assert.equal(receiptOf(purchases, rows - 1), 'R1-008502')
  assert.equal(receiptOf(purchases, rows), 'R2-000001')
  assert.equal(textOf(rows), textOf(0).replace('R1-', 'R2-'))
})

it('gives the same bytes for the same number', () => {
  for (let number = 0; number < 1_000; number += 1) {
    assert.deepEqual(tillRecord(purchases, number), tillRecord([...purchases], number))
  }
})

it('breaks one record in a few hundred, each in one of three ways', () => {
  const broken = Array.from({ length: 4 * rows }, (_, number) => number).filter(breakageOf)
  const share = broken.length / (4 * rows)
  assert.ok(share > 1 / 500 && share < 1 / 150, `${broken.length} of ${4 * rows}`)
  for (const number of broken) {
    const text = textOf(number)
    switch (breakageOf(number)) {
      case 'cut off':
        assert.throws(() => JSON.parse(text) as unknown, SyntaxError)
        break
      case 'price as text':
        assert.match(text, /"price":"\d+\.\d+ USD"/)
        break
      case 'no household':
        assert.ok(!('household' in (JSON.parse(text) as object)))
        assert.equal(tillRecord(purchases, number).key, null)
        break
      case undefined:
        assert.fail('not broken')
    }
  }
  assert.equal(new Set(broken.map(breakageOf)).size, 3)
})

it('breaks one in each way among the first four hundred, so that nobody waits long to see it', () => {
  const first = Array.from({ length: 400 }, (_, number) => breakageOf(number))
  assert.equal(new Set(first.filter((breakage) => breakage !== undefined)).size, 3)
})
