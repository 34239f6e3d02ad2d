import { createDecoder } from '../events/decode.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { Application } from './application.ts'
import type { BatchEnvironment } from './batch-environment.ts'
import { skip, type HandlerDefinition, type HandlerEnvironment } from './handler.ts'
import type { BoundHandler, Step } from './step.ts'

/** An application whose handlers are bound: all that its batches need but who works on them. */
export interface BoundApplication
  extends Omit<BatchEnvironment, 'onWaiting' | 'brake' | 'processId'> {
  /** Whether any of its handlers makes jobs. */
  readonly makesJobs: boolean
  readonly handlerNames: ReadonlySet<string>
}

/** Binds the handlers of an application to a process. */
export function bindApplication(
  application: Application,
  parts: HandlerEnvironment & { readonly heartbeat: Heartbeat },
): BoundApplication {
  const { core, pool, log, waker, places, codeVersion, heartbeat } = parts
  const environment = { core, pool, log, waker, codeVersion, ...(places && { places }) }
  const handlers = bind(application, environment)
  // The transaction must be over long before somebody else may take the partition.
  const options = {
    ...application.options,
    transactionTimeoutMs: Math.min(
      application.options.transactionTimeoutMs,
      Math.floor(heartbeat.takeOverMs / 3),
    ),
  }
  return {
    ...environment,
    application: application.name,
    options,
    makesJobs: [...handlers.values()].flat().some(({ run }) => run.disposition === 'jobs'),
    remembers: [...handlers.values()].flat().some(({ once }) => once !== undefined),
    handlerNames: new Set([...handlers.values()].flat().map(({ name }) => name)),
    decode: createDecoder([...handlers.keys()], {
      ...(options.maxValueBytes === undefined ? {} : { maxValueBytes: options.maxValueBytes }),
      ...(options.maxDepth === undefined ? {} : { maxDepth: options.maxDepth }),
    }),
    handlersOf: (definition) => handlers.get(definition as never) ?? [],
    async whenAlive(signal) {
      while (!heartbeat.alive) await core.clock.sleep(50, { signal })
    },
  }
}

type Definitions = Application['registrations'][number]['definition']

function bind(
  application: Application,
  environment: HandlerEnvironment,
): Map<Definitions, BoundHandler[]> {
  const handlers = new Map<Definitions, BoundHandler[]>()
  for (const { definition, handler, name, filter, onceMs } of application.registrations) {
    const run = (handler as HandlerDefinition<Step['event']>).bind(environment)
    const bound: BoundHandler = {
      name,
      run: filter === undefined ? run : filtered(run, filter),
      ...(onceMs === undefined
        ? {}
        : { once: { identity: identityOf(application, definition, name), rememberMs: onceMs } }),
    }
    const list = handlers.get(definition)
    if (list === undefined) handlers.set(definition, [bound])
    else list.push(bound)
  }
  return handlers
}

/** What no other handler has, and none of these can have a line break in it. */
function identityOf({ name }: Application, { topic, type }: Definitions, handler: string): string {
  return [name, handler, topic, type].join('\n')
}

function filtered(
  run: BoundHandler['run'],
  filter: NonNullable<Application['registrations'][number]['filter']>,
): BoundHandler['run'] {
  return {
    ...run,
    prepare: (event, context) => (filter(event) ? run.prepare?.(event, context) : skip('filter')),
  }
}
