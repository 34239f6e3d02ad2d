import { spawn } from 'node:child_process'
import { Socket } from 'node:net'

// Each line that it reads is the whole list of process ids; when the pipe ends, whoever held it is gone, however it
// died. A process that was stopped (SIGSTOP) must go on to hear a SIGTERM. Those still there after 20 s are killed.
// Where nobody collects orphans (a container without init) an ended process stays as a zombie, state Z.
const script = `
trap '' HUP INT TERM
pids=
while read -r line; do pids=$line; done
left() {
  for pid in $pids; do
    kill -0 "$pid" 2>/dev/null || continue
    [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" = Z ] || return 0
  done
  return 1
}
if [ -n "$pids" ]; then
  if [ -z "$1" ]; then
    kill -CONT $pids 2>/dev/null
    kill -TERM $pids 2>/dev/null
    for _ in $(seq 200); do left || break; sleep 0.1; done
  fi
  left && kill -KILL $pids 2>/dev/null
  for _ in $(seq 50); do left || break; sleep 0.1; done
fi
[ -z "$1" ] || rm -rf -- "$1"
`

/** Ends the brokers whose parent has died, however it died: the kernel closes the pipe between them. */
export interface Guardian {
  /** Names the processes to end, all of them each time. */
  watch(pids: readonly number[]): void
  /** Sends the guardian away; what it watches stays as it is. */
  dismiss(): void
}

/**
 * Starts a guardian, in a session of its own, so that neither Ctrl-C nor the end of the process group reaches it.
 *
 * @param leftover folder to remove when this process dies; the brokers are then killed. Undefined: they are stopped.
 */
export function startGuardian(leftover: string | undefined): Guardian {
  const child = spawn('/bin/sh', ['-c', script, 'millrace-kafka-guardian', leftover ?? ''], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  // A guardian that cannot start or was killed is no reason to stop a broker.
  child.on('error', () => {})
  child.stdin.on('error', () => {})
  child.unref()
  // The pipe is a socket, whatever its type says, and would keep this process alive.
  if (child.stdin instanceof Socket) child.stdin.unref()
  return {
    watch: (pids) => {
      child.stdin.write(`${pids.join(' ')}\n`)
    },
    dismiss: () => {
      child.kill('SIGKILL')
    },
  }
}
