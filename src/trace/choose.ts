import type { Graph, GraphNode } from './graph.ts'
import type { LettersByPlace } from './letters.ts'
import { outcomeOf } from './outcomes.ts'

/** How much of a timeline is shown. */
export interface ShowLimits {
  /** Steps from the beginning. Default 20. Bounds 1 … 100. */
  readonly depth: number
  /** Things of one kind below one thing. Default 5. Bounds 1 … 1,000. */
  readonly width: number
  /** Events, applications and jobs in all. Default 400. Bounds 10 … 5,000. */
  readonly nodes: number
}

/** A node that is shown, or several that are not. */
export type Chosen =
  | { readonly node: GraphNode; readonly depth: number; readonly hidden?: never }
  | {
      /** All of one kind, below one node. */
      readonly hidden: readonly GraphNode[]
      readonly parent: string | null
      readonly depth: number
      /** `like`: others like them are shown. `deep`: below the depth that is shown. `full`: no room. */
      readonly why: 'like' | 'deep' | 'full'
      readonly node?: never
    }

/**
 * Chooses what is shown, in the order of a tree. Of many things of one kind below one thing: those that lead to what was
 * asked for, then those that are not finished or went wrong or lead to such a thing, then the oldest. Breadth first, so that
 * the beginning is always there; the rest is counted.
 */
export function choose(
  graph: Graph,
  letters: LettersByPlace,
  limits: ShowLimits,
  asked: string | null,
): Chosen[] {
  const wanted = pathTo(graph, asked)
  const odd = oddOnes(graph, letters)
  const roots = [...graph.values()].filter(({ parent }) => parent === null).map(({ key }) => key)
  const below = new Map<string | null, Chosen[]>()
  let room = limits.nodes
  // What was asked for is shown wherever it is: its way there takes its room first.
  const taken = new Set(wanted)
  room -= taken.size
  let level: { readonly key: string | null; readonly children: readonly string[] }[] = [
    { key: null, children: roots },
  ]
  for (let depth = 0; level.length > 0; depth += 1) {
    const next: typeof level = []
    for (const { key, children } of level) {
      const shown: Chosen[] = []
      below.set(key, shown)
      const nodes = children.flatMap((child) => graph.get(child) ?? [])
      for (const group of Map.groupBy(nodes, likeness).values()) {
        const some = pick(group, wanted, odd, depth < limits.depth ? limits.width : 0)
        const kept = some.filter((node) => taken.has(node.key) || (room > 0 && room-- > 0))
        for (const node of kept) {
          shown.push({ node, depth })
          next.push({ key: node.key, children: node.children })
        }
        const hidden = group.filter((node) => !kept.includes(node))
        if (hidden.length === 0) continue
        const why = depth >= limits.depth ? 'deep' : kept.length < some.length ? 'full' : 'like'
        shown.push({ hidden, parent: key, depth, why })
      }
    }
    level = next
  }
  return inOrder(below)
}

function inOrder(below: ReadonlyMap<string | null, readonly Chosen[]>): Chosen[] {
  const ordered: Chosen[] = []
  // A stack of its own: causes may lie deeper than calls may.
  const stack = [...(below.get(null) ?? [])].toReversed()
  for (let one = stack.pop(); one !== undefined; one = stack.pop()) {
    ordered.push(one)
    if (one.node !== undefined) stack.push(...[...(below.get(one.node.key) ?? [])].toReversed())
  }
  return ordered
}

function pathTo(graph: Graph, asked: string | null): ReadonlySet<string> {
  const path = new Set<string>()
  for (let key = asked; key !== null && !path.has(key); key = graph.get(key)?.parent ?? null) {
    if (graph.has(key)) path.add(key)
  }
  return path
}

/** What makes things alike, below one thing. */
function likeness(node: GraphNode): string {
  switch (node.type) {
    case 'event':
      return `event ${node.event.type ?? ''}`
    case 'application':
      // Each tells something of its own, and there are few.
      return `application ${node.application}`
    case 'job':
      return `job ${node.job.kind}`
  }
}

function pick(
  group: readonly GraphNode[],
  wanted: ReadonlySet<string>,
  odd: ReadonlySet<string>,
  width: number,
): readonly GraphNode[] {
  const onPath = group.filter(({ key }) => wanted.has(key))
  if (group.length <= width) return group
  const others = group.filter(({ key }) => !wanted.has(key))
  const first = others.filter(({ key }) => odd.has(key))
  const rest = others.filter(({ key }) => !odd.has(key))
  const some = new Set([...onPath, ...first, ...rest].slice(0, Math.max(width, onPath.length)))
  return group.filter((node) => some.has(node))
}

/** What is not finished or went wrong, and everything that leads to it. */
function oddOnes(graph: Graph, letters: LettersByPlace): ReadonlySet<string> {
  const odd = new Set<string>()
  for (const node of graph.values()) {
    const outcome = outcomeOf(node, letters)
    if (outcome === 'done' || outcome === 'none') continue
    let key: string | null = node.key
    while (key !== null && !odd.has(key)) {
      odd.add(key)
      key = graph.get(key)?.parent ?? null
    }
  }
  return odd
}
