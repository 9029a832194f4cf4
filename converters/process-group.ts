/** Child processes that are ended together with whatever they started. */
import { kill } from 'node:process';

/** What is needed of a child process that was started `detached`. */
interface Leader {
  readonly pid?: number | undefined;
  kill(signal: 'SIGKILL'): boolean;
  once(event: 'exit', listener: () => void): unknown;
}

function endGroup(subprocess: Leader): void {
  if (subprocess.pid === undefined) return;
  try {
    kill(-subprocess.pid, 'SIGKILL');
  } catch {
    // All of it ended by itself meanwhile, or the system knows no groups.
    subprocess.kill('SIGKILL');
  }
}

/**
 * Ends the group when the signal is aborted, and what is left of it when the process itself has ended:
 * a grandchild that keeps a pipe open would be waited for.
 */
export function endTogether(subprocess: Leader, signal: AbortSignal): void {
  const stop = (): void => {
    endGroup(subprocess);
  };
  subprocess.once('exit', () => {
    signal.removeEventListener('abort', stop);
    stop();
  });
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
}
