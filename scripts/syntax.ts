import { parseSync } from '@swc/core'

/** A node of the syntax tree, as far as the gates look into it. */
export type SyntaxNode = { readonly type: string } & Readonly<Record<string, unknown>>

/** A parsed file: walk it, and ask for the line of a node. */
export interface Syntax {
  /** Calls `visit` for each node, parents first. */
  walk(visit: (node: SyntaxNode) => void): void
  /** Line of a node's start, counted from 1. */
  lineOf(node: SyntaxNode): number
}

/** Parses TypeScript. Throws swc's error, which names the place. */
export function parseTypeScript(text: string): Syntax {
  // swc counts offsets over all files of a process: a statement of our own in front gives the base.
  const prefix = '0;'
  const module = parseSync(prefix + text, { syntax: 'typescript', target: 'esnext' })
  const bytes = Buffer.from(text)
  const base = (module.body[0]?.span.start ?? 0) + prefix.length
  return {
    walk: (visit) => {
      for (const statement of module.body.slice(1)) walk(statement, visit)
    },
    lineOf: (node) => {
      const start = (node['span'] as { start: number } | undefined)?.start ?? base
      return bytes.subarray(0, start - base).reduce((lines, byte) => lines + Number(byte === 10), 1)
    },
  }
}

function walk(value: unknown, visit: (node: SyntaxNode) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) walk(item, visit)
  } else if (isNode(value)) {
    visit(value)
    for (const child of Object.values(value)) walk(child, visit)
  } else if (typeof value === 'object' && value !== null) {
    // Argument lists wrap their expressions in objects without a type.
    for (const child of Object.values(value)) walk(child, visit)
  }
}

/** Whether a value of the tree is a node. */
export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value
}

/** `a.b.c` for plain identifiers and their properties, undefined for anything else. */
export function dottedName(node: unknown): string | undefined {
  if (!isNode(node)) return undefined
  if (node.type === 'Identifier') return String(node['value'])
  if (node.type !== 'MemberExpression') return undefined
  const object = dottedName(node['object'])
  const property = dottedName(node['property'])
  return object === undefined || property === undefined ? undefined : `${object}.${property}`
}
