/**
 * A named place on a path that moves data, at which a test may end or stop the process. Costs one comparison when no
 * test has asked: the handler is only ever set by a test process, before anything starts.
 */
export type FailpointHandler = (name: string) => void | Promise<void>

let handler: FailpointHandler | undefined

/** Sets what happens at every failpoint of this process; `undefined` takes it back. For crash tests only. @internal */
export function setFailpointHandler(next: FailpointHandler | undefined): void {
  handler = next
}

/** A named place at which crash tests end the process. Nothing happens outside of them. @internal */
export function failpoint(name: string): void | Promise<void> {
  if (handler !== undefined) return handler(name)
}
