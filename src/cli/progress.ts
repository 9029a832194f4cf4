/** Drawing what happens: bars on a terminal, plain lines elsewhere, or every event as JSON; all on stderr. */
import type { MultiBar, SingleBar } from 'cli-progress';
import type { Ora } from 'ora';
import type { Emit, ModeldlEvent } from '../events.js';
import { printable, redactSecrets } from '../redact.js';
import { eventWriter } from './event-output.js';
import { formatBytes, formatCount, formatSeconds } from './format.js';
import type { Output } from './output.js';

export type ProgressMode = 'auto' | 'bar' | 'plain' | 'json' | 'none';

export interface Progress {
  readonly emit: Emit;
  /** Leaves the terminal as it was. */
  stop(): void;
}

/** Off a terminal at most one line of progress per this many milliseconds. */
const PLAIN_INTERVAL_MS = 10_000;

export async function createProgress(mode: ProgressMode, output: Output): Promise<Progress> {
  const chosen =
    mode === 'auto' ? (output.quiet ? 'none' : output.draws ? 'bar' : output.json ? 'none' : 'plain') : mode;
  if (chosen === 'json') {
    return { emit: eventWriter(output), stop: () => undefined };
  }
  if (chosen === 'bar') return bars(output);
  return plain(output, chosen === 'plain');
}

/** Words for what has no byte count. */
export function sentence(event: ModeldlEvent): string | undefined {
  switch (event.type) {
    case 'resolve':
      return `Resolving ${event.reference}`;
    case 'unpack':
      return `Unpacking ${formatCount(event.members, 'file')} of ${event.path}`;
    case 'waiting':
      return `Waiting for ${event.holder}, which works on ${event.what}`;
    case 'retry':
      return `Trying ${event.url} again in ${formatSeconds(event.waitMs / 1000)}: ${event.reason}`;
    case 'stage':
      return event.detail === undefined ? event.stage : `${event.stage}: ${event.detail}`;
    default:
      return undefined;
  }
}

/** Models have files of the same names. */
function fileKey({ reference, path }: { readonly reference: string; readonly path: string }): string {
  return `${reference}\n${path}`;
}

/** Bytes of everything in flight together. */
export function createTotals(): { see(event: ModeldlEvent): void; received(): number; total(): number } {
  const files = new Map<string, { received: number; total: number }>();
  const sum = (pick: (file: { received: number; total: number }) => number): number =>
    [...files.values()].reduce((total, file) => total + pick(file), 0);
  return {
    see(event) {
      if (event.type === 'file-start') {
        files.set(fileKey(event), { received: event.resumedBytes, total: event.bytes ?? 0 });
      } else if (event.type === 'file-progress') {
        const file = files.get(fileKey(event));
        if (file) file.received = event.receivedBytes;
      } else if (event.type === 'file-done') {
        files.set(fileKey(event), { received: event.bytes, total: event.bytes });
      }
    },
    received: () => sum(({ received }) => received),
    total: () => sum(({ total, received }) => Math.max(total, received)),
  };
}

function plain(output: Output, talkative: boolean): Progress {
  const totals = createTotals();
  let next = 0;
  let withheld: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const print = (text: string): void => {
    next = performance.now() + PLAIN_INTERVAL_MS;
    withheld = undefined;
    output.note(text);
  };
  /** At most one line per interval; the last one that was held back appears when it is over. */
  const progress = (text: string): void => {
    const wait = next - performance.now();
    if (wait <= 0) {
      print(text);
      return;
    }
    withheld = text;
    timer ??= setTimeout(() => {
      timer = undefined;
      if (withheld !== undefined) print(withheld);
    }, wait).unref();
  };
  const saidNext = new Map<string, number>();
  /** Why nothing moves is no progress, and said at once; the same of many files is. */
  const atOnce = (kind: string, text: string): void => {
    if (performance.now() < (saidNext.get(kind) ?? 0)) {
      progress(text);
      return;
    }
    saidNext.set(kind, performance.now() + PLAIN_INTERVAL_MS);
    output.note(text);
  };
  const emit: Emit = (event) => {
    totals.see(event);
    if (event.type === 'warning') output.warn(event.message);
    else if (event.type === 'note') output.note(event.message);
    if (!talkative) return;
    const text = sentence(event);
    // What is over within an interval needs no count of bytes.
    if (event.type === 'file-start') next ||= performance.now() + PLAIN_INTERVAL_MS;
    if (event.type === 'plan') {
      if (event.bytes === 0) return;
      progress(
        `Fetching ${formatCount(event.files, 'file')}, ${formatBytes(event.bytes)}, for ${event.reference}`,
      );
    } else if (event.type === 'file-progress') {
      progress(`${formatBytes(totals.received())} of ${formatBytes(totals.total())}`);
    } else if (event.type === 'waiting' || event.type === 'retry') {
      // Another reason is another thing to be told.
      if (text !== undefined) atOnce(event.type === 'retry' ? `retry: ${event.reason}` : event.type, text);
    } else if (text !== undefined && event.type !== 'resolve') progress(text);
  };
  return {
    emit,
    stop: () => {
      clearTimeout(timer);
      withheld = undefined;
    },
  };
}

/** Most files shown at once; small ones come and go too fast to read. */
const MAX_BARS = 6;
const SMALL_BYTES = 8 * 1024 * 1024;

async function bars(output: Output): Promise<Progress> {
  const [{ default: cliProgress }, { default: ora }] = await Promise.all([
    import('cli-progress'),
    import('ora'),
  ]);
  const totals = createTotals();
  const active = new Map<string, SingleBar>();
  let multi: MultiBar | undefined;
  let total: SingleBar | undefined;
  let spinner: Ora | undefined;
  const columns = output.stderr.columns ?? 80;
  const nameWidth = Math.max(8, Math.min(40, columns - 48));

  const endSpinner = (): void => {
    spinner?.stop();
    spinner = undefined;
  };
  const endBars = (): void => {
    multi?.stop();
    multi = undefined;
    total = undefined;
    active.clear();
  };
  const spin = (text: string): void => {
    endBars();
    const shown = printable(redactSecrets(text, output.secrets));
    const line = shown.length > columns - 4 ? `${shown.slice(0, columns - 5)}…` : shown;
    if (spinner === undefined) {
      const color = output.color ? 'cyan' : false;
      spinner = ora({ text: line, stream: output.stderr, color }).start();
    } else spinner.text = line;
  };
  const shorten = (path: string): string =>
    path.length > nameWidth ? `…${path.slice(path.length - nameWidth + 1)}` : path.padEnd(nameWidth);
  const draw = (event: Extract<ModeldlEvent, { type: 'file-start' }>): void => {
    endSpinner();
    multi ??= new cliProgress.MultiBar(
      {
        stream: output.stderr,
        clearOnComplete: true,
        hideCursor: true,
        etaBuffer: 50,
        format: (_options, parameters, payload: { name?: string }) => {
          const { value, total: whole, eta } = parameters;
          const part = whole > 0 ? Math.floor((value / whole) * 100) : 0;
          const left = whole > value ? `  ${formatSeconds(Number.isFinite(eta) ? eta : 0)} left` : '';
          return `${payload.name ?? ''} ${String(part).padStart(3)}%  ${formatBytes(value)} of ${formatBytes(whole)}${left}`;
        },
      },
      cliProgress.Presets.shades_classic,
    );
    total ??= multi.create(0, 0, { name: shorten('total') });
    if ((event.bytes ?? 0) >= SMALL_BYTES && active.size < MAX_BARS) {
      active.set(
        fileKey(event),
        multi.create(event.bytes ?? 0, event.resumedBytes, { name: shorten(event.path) }),
      );
    }
  };
  const emit: Emit = (event) => {
    totals.see(event);
    const text = sentence(event);
    if (event.type === 'warning' || event.type === 'note') {
      // A line between bars would be overwritten: they are drawn anew below it.
      endBars();
      endSpinner();
      if (event.type === 'warning') output.warn(event.message);
      else output.note(event.message);
      return;
    }
    if (event.type === 'file-start') draw(event);
    else if (event.type === 'file-progress') active.get(fileKey(event))?.update(event.receivedBytes);
    else if (event.type === 'file-done') {
      const bar = active.get(fileKey(event));
      if (bar) multi?.remove(bar);
      active.delete(fileKey(event));
    } else if (event.type === 'stage-progress') spin(`${event.stage}: ${event.done} of ${event.total}`);
    else if (text !== undefined) spin(text);
    total?.setTotal(totals.total());
    total?.update(totals.received());
  };
  return {
    emit,
    stop: () => {
      endBars();
      endSpinner();
    },
  };
}
