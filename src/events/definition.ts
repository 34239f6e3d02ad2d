import type { EventDefinition } from './event.ts'
import type { ForeignDefinition } from './foreign.ts'
import type { ReceivedEvent } from './received-event.ts'
import type { TombstoneDefinition } from './tombstone.ts'

/** Whatever a handler can be registered for. */
export type Definition = EventDefinition | ForeignDefinition | TombstoneDefinition

/** What one publishes an event of the definition `D` with. */
export type EventInput<D extends EventDefinition> =
  D extends EventDefinition<string, infer Input, unknown> ? Input : never

/** What a handler of `D` gets as `data`. */
export type EventData<D extends Definition> =
  D extends EventDefinition<string, infer _Input, infer Output>
    ? Output
    : D extends ForeignDefinition<string, infer Data>
      ? Data
      : null

/** The event that a handler of `D` gets. */
export type EventOf<D extends Definition> = ReceivedEvent<D['type'], EventData<D>>
