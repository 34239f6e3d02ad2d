/** What ends with the test: a test's context, or `{ after }` of node:test for a whole file or suite. */
export interface TestScope {
  after(action: () => Promise<void>): void
}

const stacks = new WeakMap<TestScope, (() => Promise<void>)[]>()

/** Calls `action` when the test has ended, what was added last first: node:test itself goes the other way round. */
export function cleanup(t: TestScope, action: () => Promise<void>): void {
  const known = stacks.get(t)
  if (known !== undefined) {
    known.push(action)
    return
  }
  const stack = [action]
  stacks.set(t, stack)
  t.after(async () => {
    const failures: unknown[] = []
    for (const undo of stack.toReversed())
      await undo().catch((error: unknown) => failures.push(error))
    if (failures.length > 0) throw new AggregateError(failures, 'cleaning up after the test failed')
  })
}
