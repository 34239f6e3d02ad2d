import { root, type SourceFile } from './source-files.ts'
import { dottedName, isNode, parseTypeScript, type SyntaxNode } from './syntax.ts'

/** A gate over the sources gives its findings, one line each; none means it is passed. */
export type SourceGate = (files: readonly SourceFile[]) => string[]

const lineLimit = 500
const percentileLimit = 350

/** No source file has more than 500 lines, and 95 of 100 files of src have at most 350. */
export function fileSizes(files: readonly SourceFile[]): string[] {
  const sized = files
    .filter(({ path }) => /\.(ts|mjs|cjs)$/.test(path))
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
  const long = sized
    .filter(({ lines }) => lines > lineLimit)
    .map(({ path, lines }) => `${path}: ${lines} lines, the limit is ${lineLimit}`)
  const own = sized
    .filter(({ path }) => path.startsWith('src/') && !path.endsWith('.test.ts'))
    .sort((a, b) => a.lines - b.lines)
  const percentile = own[Math.ceil(own.length * 0.95) - 1]
  if (percentile === undefined || percentile.lines <= percentileLimit) return long
  const over = own.filter(({ lines }) => lines > percentileLimit)
  return [
    ...long,
    `p95 of src is ${percentile.lines} lines, the limit is ${percentileLimit}; the files above it:`,
    ...over.map(({ path, lines }) => `${path}: ${lines} lines`),
  ]
}

const forbiddenNames = new Set([
  'Date.now',
  'Math.random',
  'performance.now',
  'setTimeout',
  'setInterval',
  'randomUUID',
  'crypto.randomUUID',
])

/** Time, chance and ids come from src/core; nothing else in src reaches for the real ones. */
export function forbiddenCalls(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'))
    .filter(({ path }) => !path.startsWith('src/core/') && !path.endsWith('.test.ts'))
    .flatMap(({ path, text }) => {
      const syntax = parseTypeScript(text)
      const found = new Set<string>()
      syntax.walk((node) => {
        const name = forbiddenUse(node)
        if (name !== undefined) found.add(`${path}:${syntax.lineOf(node)}: ${name}`)
      })
      return [...found].map((finding) => `${finding} is for src/core only; take \`core\` instead`)
    })
}

function forbiddenUse(node: SyntaxNode): string | undefined {
  if (node.type === 'ImportDeclaration' && isNode(node['source'])) {
    const source = String(node['source']['value'])
    return /^(node:)?timers(\/promises)?$/.test(source) ? source : undefined
  }
  if (node.type === 'ImportSpecifier') {
    const name = dottedName(node['imported'] ?? node['local'])
    return name === 'randomUUID' ? name : undefined
  }
  if (node.type === 'NewExpression') {
    const empty = !Array.isArray(node['arguments']) || node['arguments'].length === 0
    return dottedName(node['callee']) === 'Date' && empty ? 'new Date()' : undefined
  }
  if (node.type === 'CallExpression') {
    const name = dottedName(node['callee'])?.replace(/^globalThis\./, '')
    return name !== undefined && forbiddenNames.has(name) ? name : undefined
  }
  if (node.type === 'MemberExpression') {
    const name = dottedName(node)?.replace(/^globalThis\./, '')
    return name !== undefined && forbiddenNames.has(name) ? name : undefined
  }
  return undefined
}

const testCall = /^(?:\w+\.)?(?:test|it)$/
const modifiedCall = /^(?:\w+\.)?(?:test|it|describe|suite)\.(only|skip|todo)$|^t\.(skip|todo)$/

/** A title stands for one test in its file, and no test is left out or preferred. */
export function testTitles(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => path.endsWith('.test.ts'))
    .flatMap(({ path, text }) => {
      const syntax = parseTypeScript(text)
      const lines = new Map<string, number>()
      const findings: string[] = []
      syntax.walk((node) => {
        if (node.type !== 'CallExpression') return
        const name = dottedName(node['callee']) ?? ''
        const line = syntax.lineOf(node)
        const modifier = modifiedCall.exec(name)
        if (modifier) findings.push(`${path}:${line}: ${name} is not for committed tests`)
        if (!testCall.test(name) && !/^(describe|suite)$/.test(name)) return
        for (const option of leavingOut(node)) {
          findings.push(`${path}:${line}: the option ${option} is not for committed tests`)
        }
        const title = testCall.test(name) ? literalTitle(node) : undefined
        if (title === undefined) return
        const first = lines.get(title)
        if (first === undefined) lines.set(title, line)
        else findings.push(`${path}:${line}: the title of line ${first} again: ${title}`)
      })
      return findings
    })
}

function callArguments(node: SyntaxNode): SyntaxNode[] {
  const list = Array.isArray(node['arguments']) ? (node['arguments'] as unknown[]) : []
  return list
    .map((argument) => (argument as { expression?: unknown }).expression)
    .filter((expression) => isNode(expression))
}

function literalTitle(call: SyntaxNode): string | undefined {
  const [first] = callArguments(call)
  return first?.type === 'StringLiteral' ? String(first['value']) : undefined
}

function leavingOut(call: SyntaxNode): string[] {
  return callArguments(call)
    .filter((argument) => argument.type === 'ObjectExpression')
    .flatMap((argument) => argument['properties'] as unknown[])
    .filter((property) => isNode(property) && property.type === 'KeyValueProperty')
    .map((property) => dottedName((property as SyntaxNode)['key']) ?? '')
    .filter((key) => ['only', 'skip', 'todo'].includes(key))
}

/** The drawing at the top of src/README.md names exactly the folders of src. */
export function roomsDrawn(files: readonly SourceFile[]): string[] {
  const readme = files.find(({ path }) => path === 'src/README.md')
  if (readme === undefined)
    return ['src/README.md is missing: it begins with a drawing of the rooms']
  const drawing = /```[^\n]*\n([\s\S]*?)```/.exec(readme.text)?.[1] ?? ''
  const drawn = new Set([...drawing.matchAll(/(?<![\w/-])([a-z][a-z-]*)\/(?=\s|$)/gm)].map(nameOf))
  drawn.delete('src')
  const folders = new Set(
    files
      .map(({ path }) => /^src\/([^/]+)\//.exec(path)?.[1])
      .filter((folder) => folder !== undefined),
  )
  return [
    ...[...folders]
      .filter((room) => !drawn.has(room))
      .map((room) => `src/${room}/ is not in the drawing`),
    ...[...drawn]
      .filter((room) => !folders.has(room))
      .map((room) => `the drawing has ${room}/, src has not`),
  ]
}

function nameOf(match: RegExpMatchArray): string {
  return match[1] ?? ''
}

// Written so that they do not find themselves.
const machinePath = /(?<![\w.*$}~-])\/(?:home|Users|root|work)\/[\w.-]+/
const registryAddress = /registry\.(?:npmjs|yarnpkg)\.|"resolved": "https?:/

/** Nothing committed knows the machine it was written on, nor where its packages came from. */
export function noMachineTraces(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) => {
      const found =
        machinePath.exec(line)?.[0] ??
        registryAddress.exec(line)?.[0] ??
        (root.length > 1 && line.includes(`${root}/`) ? root : undefined)
      return found === undefined ? [] : [`${path}:${index + 1}: ${found}`]
    }),
  )
}
