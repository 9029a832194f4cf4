/** What happens in a call, as progress that only rises, told at most so often. */
import type { Emit } from '../../events.js';
import { formatBytes } from '../format.js';
import { createTotals, sentence } from '../progress.js';

export interface CallProgress {
  /** Rises with every message; bytes while files are fetched. */
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
}

export interface ProgressReport {
  readonly emit: Emit;
  stop(): void;
}

type Latest = Omit<CallProgress, 'progress'> & { readonly progress?: number };

/** A client draws no faster. */
const INTERVAL_MS = 500;
/** Clients give up on what says nothing for long, mostly after a minute; a conversion may. */
const SILENCE_MS = 10_000;

export function reportProgress(send: (progress: CallProgress) => void): ProgressReport {
  const totals = createTotals();
  let planned = 0;
  let sent = 0;
  let sentAt = -Infinity;
  let latest = (): Latest => ({ message: 'Working' });
  let isWithheld = false;

  const tell = (): void => {
    isWithheld = false;
    sentAt = performance.now();
    const { message, total, progress } = latest();
    sent = Math.max(sent + 1, progress ?? 0);
    // A total that is passed is none.
    send({ progress: sent, message, ...(total === undefined || total < sent ? {} : { total }) });
  };
  const timer = setInterval(() => {
    const silent = performance.now() - sentAt;
    if (isWithheld || silent >= SILENCE_MS) tell();
  }, INTERVAL_MS);
  timer.unref();

  const bytes = (): Latest => {
    const received = totals.received();
    const total = Math.max(planned, totals.total());
    const whole = total > 0 ? ` of ${formatBytes(total)}` : '';
    return {
      progress: received,
      message: `${formatBytes(received)}${whole}`,
      ...(total > 0 ? { total } : {}),
    };
  };
  const offer = (next: () => Latest): void => {
    latest = next;
    isWithheld = true;
    if (performance.now() - sentAt >= INTERVAL_MS) tell();
  };
  return {
    emit(event) {
      totals.see(event);
      if (event.type === 'plan') planned += event.bytes;
      const isBytes =
        event.type === 'file-start' || event.type === 'file-progress' || event.type === 'file-done';
      // Summed when it is told: there may be tens of thousands of files.
      if (isBytes) {
        offer(bytes);
        return;
      }
      const text =
        event.type === 'stage-progress' ? `${event.stage}: ${event.done} of ${event.total}` : sentence(event);
      if (text !== undefined) offer(() => ({ message: text }));
    },
    stop: () => {
      clearInterval(timer);
    },
  };
}
