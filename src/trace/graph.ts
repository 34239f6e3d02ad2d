import type { EventFact, HandlingFact, JobFact, TraceFacts } from './facts.ts'

interface Placed {
  readonly key: string
  /** Key of what led to it. */
  parent: string | null
  /** Id of its cause, when that was not found. */
  missing: string | null
  readonly children: string[]
  readonly at: Date
}

/** An event, an application that it came to, or a job, in its place. */
export type GraphNode = Placed &
  (
    | { readonly type: 'event'; readonly event: EventFact }
    | {
        readonly type: 'application'
        readonly application: string
        readonly event: EventFact
        readonly handlings: readonly HandlingFact[]
      }
    | { readonly type: 'job'; readonly job: JobFact }
  )

/** Everything that was found by its key, each below what led to it; oldest first. */
export type Graph = ReadonlyMap<string, GraphNode>

/** The key of a record's node. */
export function recordKey(topic: string, partition: number, offset: bigint): string {
  return `${topic}/${partition}/${offset}`
}

/** The key of an event's node. */
export function eventKey({ topic, partition, offset, id }: EventFact): string {
  return partition === null || offset === null
    ? `${topic}/outbox/${id}`
    : recordKey(topic, partition, offset)
}

/** The key of an application's node. */
export function applicationKey(event: string, application: string): string {
  return `${event} ${application}`
}

/**
 * Puts facts below what led to them. A job that was made from a record stands below the application that made it; what only
 * names an event as its cause stands below the one application that handled the event, or, where there are several, below
 * the event, since nobody wrote down which it was. What has no cause, or one that was not found, is a beginning. Causes that
 * go round in a circle, as somebody's own ids may, are cut open.
 */
export function buildGraph({ events, jobs, handlings }: TraceFacts): Graph {
  const nodes = new Map<string, GraphNode>()
  const fresh = (key: string, at: Date): Placed => ({
    key,
    at,
    parent: null,
    missing: null,
    children: [],
  })
  /** The first event of each id; the same may be in the log more than once. */
  const byId = new Map<string, string>()
  for (const event of events.toSorted((a, b) => +a.at - +b.at)) {
    const key = eventKey(event)
    if (nodes.has(key)) continue
    nodes.set(key, { ...fresh(key, event.at), type: 'event', event })
    if (!byId.has(event.id)) byId.set(event.id, key)
  }
  const perPlace = Map.groupBy(handlings, ({ topic, partition, offset }) =>
    recordKey(topic, partition, offset),
  )
  const applicationsOf = new Map<string, string[]>()
  const addApplication = (eventAt: string, application: string): string | undefined => {
    const key = applicationKey(eventAt, application)
    if (nodes.has(key)) return key
    const above = nodes.get(eventAt)
    if (above?.type !== 'event') return undefined
    const own = (perPlace.get(eventAt) ?? []).filter((one) => one.application === application)
    const { event } = above
    nodes.set(key, {
      ...fresh(key, event.at),
      type: 'application',
      application,
      event,
      handlings: own.toSorted((a, b) => a.generation - b.generation),
    })
    applicationsOf.set(eventAt, [...(applicationsOf.get(eventAt) ?? []), key])
    link(nodes, key, eventAt)
    return key
  }
  for (const [place, some] of perPlace) {
    for (const { application } of some) addApplication(place, application)
  }
  for (const job of jobs) {
    if (!nodes.has(job.id)) {
      nodes.set(job.id, { ...fresh(job.id, job.createdAt), type: 'job', job })
    }
  }
  for (const job of jobs) {
    if (job.origin === null) continue
    const { topic, partition, offset, application } = job.origin
    link(nodes, job.id, addApplication(recordKey(topic, partition, offset), application))
  }

  const below = (cause: string): string | undefined => {
    const event = byId.get(cause)
    if (event === undefined) return nodes.get(cause)?.type === 'job' ? cause : undefined
    const handled = (applicationsOf.get(event) ?? []).filter((key) => hasHandled(nodes.get(key)))
    return handled.length === 1 ? handled[0] : event
  }
  for (const node of nodes.values()) {
    if (node.type === 'application' || node.parent !== null) continue
    const { causationId } = node.type === 'event' ? node.event : node.job
    if (causationId === null) continue
    const parent = below(causationId)
    if (parent === undefined || parent === node.key) node.missing = causationId
    else link(nodes, node.key, parent)
  }
  cutCircles(nodes)
  for (const { children } of nodes.values()) {
    children.sort((a, b) => +(nodes.get(a)?.at ?? 0) - +(nodes.get(b)?.at ?? 0))
  }
  return nodes
}

/** Whether it is an application that has come to the record. */
export function hasHandled(node: GraphNode | undefined): boolean {
  return (
    node?.type === 'application' &&
    (node.handlings.length === 0 || node.handlings.some(({ state }) => state !== 'waiting'))
  )
}

function link(
  nodes: ReadonlyMap<string, GraphNode>,
  key: string,
  parent: string | undefined,
): void {
  const node = nodes.get(key)
  if (node === undefined || parent === undefined || node.parent !== null) return
  node.parent = parent
  nodes.get(parent)?.children.push(key)
}

function cutCircles(nodes: ReadonlyMap<string, GraphNode>): void {
  const safe = new Set<string>()
  for (const start of nodes.keys()) {
    const path = new Set<string>()
    let key: string | null = start
    while (key !== null && !safe.has(key) && !path.has(key)) {
      path.add(key)
      key = nodes.get(key)?.parent ?? null
    }
    if (key !== null && path.has(key)) {
      const node = nodes.get(key) as GraphNode
      const above = nodes.get(node.parent as string)
      above?.children.splice(above.children.indexOf(key), 1)
      node.missing = node.parent
      node.parent = null
    }
    for (const one of path) safe.add(one)
  }
}
