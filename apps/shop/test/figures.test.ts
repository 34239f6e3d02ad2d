import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Millrace } from 'millrace'
import { FigureReader } from '../src/figures.ts'
import { Mailbox } from '../src/mail/mailbox.ts'

it('does not take a database that has not answered yet for one with nothing in it', async () => {
  const silent = { summary: () => Promise.withResolvers().promise } as unknown as Millrace
  const reader = new FigureReader(silent, new Mailbox('nowhere'))
  assert.equal(await reader.readWithin(1), undefined)
  assert.equal(reader.isStarting, true)
  assert.equal(reader.lastKnown().database, 'down')
})
