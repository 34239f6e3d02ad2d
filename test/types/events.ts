import { expectTypeOf } from 'expect-type'
import * as v from 'valibot'
import { z } from 'zod'
import type { Core } from '../../src/core/core.ts'
import { createDecoder, type Decode } from '../../src/events/decode.ts'
import type { Definition, EventData, EventInput, EventOf } from '../../src/events/definition.ts'
import { encodeEvent, encodeEvents } from '../../src/events/encode.ts'
import { event, type EventDefinition } from '../../src/events/event.ts'
import { foreign, type ForeignDefinition } from '../../src/events/foreign.ts'
import type { ReceivedEvent } from '../../src/events/received-event.ts'
import { tombstone } from '../../src/events/tombstone.ts'

declare const core: Core

const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({
    orderId: z.string(),
    soldAt: z.iso.datetime().transform((text) => new Date(text)),
    note: z.string().default(''),
  }),
  key: (data) => {
    // What is published, not what handlers get.
    expectTypeOf(data).toEqualTypeOf<{
      orderId: string
      soldAt: string
      note?: string | undefined
    }>()
    return data.orderId
  },
})

expectTypeOf(itemSold.type).toEqualTypeOf<'ITEM_SOLD'>()
expectTypeOf<EventInput<typeof itemSold>>().toEqualTypeOf<{
  orderId: string
  soldAt: string
  note?: string | undefined
}>()
expectTypeOf<EventData<typeof itemSold>>().toEqualTypeOf<{
  orderId: string
  soldAt: Date
  note: string
}>()
expectTypeOf<EventOf<typeof itemSold>>().toEqualTypeOf<
  ReceivedEvent<'ITEM_SOLD', { orderId: string; soldAt: Date; note: string }>
>()

void encodeEvent(core, itemSold, { orderId: '1', soldAt: '2026-11-22T20:15:00Z' })
void encodeEvents(core, itemSold, [{ orderId: '1', soldAt: '2026-11-22T20:15:00Z', note: '' }])
// @ts-expect-error publishing takes the wire form, not the handlers'
void encodeEvent(core, itemSold, { orderId: '1', soldAt: new Date(0) })
// @ts-expect-error a property is missing
void encodeEvent(core, itemSold, { orderId: '1' })
// @ts-expect-error a property too many
void encodeEvent(core, itemSold, { orderId: '1', soldAt: '', price: 1 })

// Any Standard Schema will do.
const withdrawn = event('WITHDRAWN', {
  source: 'CATALOG',
  topic: 'products',
  schema: v.object({ productId: v.string() }),
  version: 3,
  upcasters: { 1: (data) => data, 2: (data) => data },
})
expectTypeOf<EventOf<typeof withdrawn>>().toEqualTypeOf<
  ReceivedEvent<'WITHDRAWN', { productId: string }>
>()

// A definition of one event fits where any is wanted, whatever is said about its input.
expectTypeOf(itemSold).toExtend<EventDefinition>()
expectTypeOf(itemSold).toExtend<EventDefinition<string, never, unknown>>()
expectTypeOf(itemSold).not.toExtend<EventDefinition<'OTHER'>>()

const filmSchema = z.object({ Title: z.string(), Year: z.coerce.number() })
const film = foreign('distributor-films', { schema: filmSchema, key: (data) => data.Title })
expectTypeOf(film).toEqualTypeOf<
  ForeignDefinition<'FOREIGN:distributor-films', { Title: string; Year: number }>
>()

const mapped = foreign('distributor-films', {
  schema: filmSchema,
  type: 'FILM_SEEN',
  key: (data) => data.Title,
  map: ({ Title, Year }, { offset }) => {
    expectTypeOf(offset).toEqualTypeOf<bigint>()
    return { id: `${Title} (${Year})` }
  },
  time: ({ Year }) => new Date(Date.UTC(Year, 0)),
})
expectTypeOf<EventOf<typeof mapped>>().toEqualTypeOf<ReceivedEvent<'FILM_SEEN', { id: string }>>()

const gone = tombstone('products')
expectTypeOf<EventOf<typeof gone>>().toEqualTypeOf<ReceivedEvent<'TOMBSTONE:products', null>>()

expectTypeOf(createDecoder([itemSold, withdrawn, film, gone])).toExtend<Decode<Definition>>()
expectTypeOf(createDecoder([] as EventDefinition<string, never, unknown>[])).toBeFunction()

// Definitions are values, not builders: nothing of them can be changed.
// @ts-expect-error readonly
itemSold.topic = 'elsewhere'
