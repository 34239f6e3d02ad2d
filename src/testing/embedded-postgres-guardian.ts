import { spawn, type ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'

/** For sh: removes what a server has in the folder `$1`, and the folder if nothing else is in it. rm follows no links. */
export const removalScript = `
rm -rf -- "$1"/data "$1"/password "$1"/server.log "$1"/postgresql.conf "$1"/binaries-* "$1"/*-partial-*
rm -f -- "$1"/owner
rmdir -- "$1" 2>/dev/null
`

// Reads process ids, one a line, the last one counts; when the pipe ends, whoever held it is gone. The loop waits 20 s
// for a fast shutdown, then 5 s for an immediate one. A pid that ended by itself is taken back with an empty line.
// Where nobody collects orphans (a container without init) an ended process stays as a zombie, state Z.
const script = `
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
gone() {
  for _ in $(seq "$1"); do
    kill -0 "$pid" 2>/dev/null || return 0
    [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" = Z ] && return 0
    sleep 0.1
  done
  return 1
}
if [ -n "$pid" ]; then
  kill -INT "$pid" 2>/dev/null
  gone 200 || { kill -QUIT "$pid" 2>/dev/null; gone 50 || kill -KILL "$pid" 2>/dev/null; }
fi
[ -n "$1" ] || exit 0
${removalScript}`

/** Stops a server whose parent has died, however it died: the kernel closes the pipe between them. */
export interface Guardian {
  /** Names the process to stop; undefined when there is none any more. */
  watch(pid: number | undefined): void
  /** Sends the guardian away; what it watches stays as it is. */
  dismiss(): void
}

/**
 * Starts a guardian. It lives in a session of its own, so neither Ctrl-C nor the end of the process group reaches it.
 *
 * @param leftover folder to remove when this process dies, undefined for none
 */
export function startGuardian(leftover: string | undefined): Guardian {
  const child: ChildProcess = spawn(
    '/bin/sh',
    ['-c', script, 'millrace-guardian', leftover ?? ''],
    {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  )
  // A guardian that cannot start or was killed is no reason to stop the server.
  child.on('error', () => {})
  child.stdin?.on('error', () => {})
  child.unref()
  const pipe = child.stdin
  // The pipe is a socket, whatever its type says, and would keep this process alive.
  if (pipe instanceof Socket) pipe.unref()
  return {
    watch: (pid) => {
      pipe?.write(`${pid ?? ''}\n`)
    },
    dismiss: () => {
      child.kill('SIGKILL')
    },
  }
}
