/**
 * Further connections for a file whose first one is not as fast as the network could be. They only help: whatever goes
 * wrong with one of them is no failure of the download, and what it did not bring goes back to the queue.
 */
import type { EventLoopUtilization } from 'node:perf_hooks';
import { ModeldlError } from '../errors.js';
import { createConnectionCount, type ConnectionCount } from './connections.js';
import { readPartBody, untilTaken, type Transfer } from './part-body.js';
import type { HttpResponse } from './http.js';
import type { Part } from './parts.js';
import { acceptPart, isCompressed, mayContinue, rangeHeaders } from './response.js';

/** Connections of all files together. */
export interface ConnectionBudget {
  /** Most for one file. */
  readonly perFile: number;
  /** Decides how many one file has. */
  count(): ConnectionCount;
  /** Asks for one more than the one that every file has; false when too many are open. */
  take(): boolean;
  release(): void;
}

/** @param perFile most connections for one file; @param further most of all files together, besides one for each */
export function createConnectionBudget(perFile: number, further: number): ConnectionBudget {
  let left = further;
  return {
    perFile,
    count: () => createConnectionCount(perFile),
    take() {
      if (left === 0) return false;
      left -= 1;
      return true;
    },
    release() {
      left += 1;
    },
  };
}

export interface Helpers {
  /** How many there are. */
  active(): number;
  /** Fires with an error that ends the whole download, such as a full disk. */
  readonly failure: AbortSignal;
  /** Resolves when one ends, or when it is time to look for work again. */
  pause(): Promise<void>;
  /** Ends all; there will be no more. */
  stop(): Promise<void>;
}

/** Throughput is looked at this often, milliseconds. */
const TICK_MS = 25;
/** The share of its time that this process works, and what arrives, are measured over so long, milliseconds. */
const WINDOW_MS = 100;
/** Where that share is larger, it is what bounds the bytes, and more connections only cost. */
const SATURATED = 0.7;
/** What is left within so little time is not worth another connection, milliseconds. */
const ENDING_MS = 250;
/** For so long after `--limit-rate` held bytes up, it is what bounds them, milliseconds. */
const LIMITED_MS = 1000;
/** Who brought bytes within so long has a network, milliseconds. */
const HEARD_MS = 2000;
/** Statuses of an address that was good for a time only. */
const EXPIRED: readonly number[] = [401, 403, 404, 410];

/** Watches the transfer, and helps it with as many connections as pay off. */
export function helpWith(transfer: Transfer): Helpers {
  const { http, request, options, assembly, parts } = transfer;
  const { connections } = options;
  const count = connections.count();
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();
  const failing = new AbortController();
  const signal = AbortSignal.any([options.signal, stopping.signal]);
  /** Whose part has begun to arrive. */
  const delivering = new Set<Part>();
  let isAlone = connections.perFile < 2;
  const paused: (() => void)[] = [];
  /** In a row, without a part that came whole. */
  let breaks = 0;
  let brokeAt = -Infinity;
  let wanted = 1;
  let window = { ...beginning(performance.now()), share: 1, rate: 0 };

  function beginning(now: number): { since: number; loop: EventLoopUtilization; bytes: number } {
    return { since: now, loop: performance.eventLoopUtilization(), bytes: transfer.fetchedBytes };
  }

  /** How busy this process was lately, and what arrived meanwhile: bytes per millisecond. */
  function lately(now: number): { readonly share: number; readonly rate: number } {
    const elapsed = now - window.since;
    if (elapsed >= WINDOW_MS) {
      const { utilization: share } = performance.eventLoopUtilization(window.loop);
      const rate = (transfer.fetchedBytes - window.bytes) / elapsed;
      window = { ...beginning(now), share, rate };
    }
    return window;
  }

  function look(): void {
    for (const resolve of paused.splice(0)) resolve();
    const { size } = transfer;
    // Before the first answer nothing is known, and what does not tell its version cannot be pieced together.
    if (isAlone || size === undefined || transfer.fetchedBytes === 0) return;
    if (!mayContinue(request, assembly.source)) return;
    const now = performance.now();
    const left = size - assembly.received.total();
    const { share, rate } = lately(now);
    wanted = count.observe({
      now,
      receivedBytes: transfer.fetchedBytes,
      delivering: 1 + delivering.size,
      mayGrow: share < SATURATED && now - transfer.limitedUntil > LIMITED_MS && left > rate * ENDING_MS,
    });
    while (1 + running.size < wanted && begin());
  }

  function begin(): boolean {
    if (stopping.signal.aborted || !connections.take()) return false;
    const part = parts.next();
    if (part === undefined) {
      connections.release();
      return false;
    }
    const work = help(part)
      .catch((error: unknown) => {
        if (!signal.aborted) failing.abort(error);
      })
      .finally(() => {
        running.delete(work);
        connections.release();
      });
    running.add(work);
    return true;
  }

  /** One connection: part after part, while so many are wanted. */
  async function help(first: Part): Promise<void> {
    let part: Part | undefined = first;
    while (part !== undefined) part = (await fetchAndClose(part)) ? parts.next() : undefined;
  }

  async function fetchAndClose(part: Part): Promise<boolean> {
    try {
      const isOfUse = await untilTaken(part, signal, (untilThen) => fetchPart(part, untilThen));
      return isOfUse !== false && !isAlone && !signal.aborted && running.size < wanted;
    } finally {
      delivering.delete(part);
      parts.close(part);
    }
  }

  /** False when this connection is of no more use. */
  async function fetchPart(part: Part, untilThen: AbortSignal): Promise<boolean> {
    const { at: start, end } = part;
    const response = await ask(part, untilThen);
    if (response === undefined) return false;
    const range = acceptPart(response, start, end, transfer.size, assembly.source);
    if (response.status !== 206 || isCompressed(response) || typeof range === 'string') {
      // No parts, or parts of something else: what that means is for the first connection to find out.
      response.discard();
      isAlone = true;
      return false;
    }
    delivering.add(part);
    const outcome = await readPartBody(transfer, part, response, { end, whole: false });
    if (outcome !== 'part') broke(part);
    else if (part.at > start) breaks = 0;
    return outcome === 'part';
  }

  function broke(part: Part): void {
    // What ends several connections at once, as a network that goes, is one break.
    if (part.since >= brokeAt) {
      breaks += 1;
      brokeAt = performance.now();
    }
    if (breaks > http.settings.retries) isAlone = true;
    else if (part.at === part.from) unanswered(part);
  }

  /** A server refuses one connection while others bring bytes; where none does, the network is gone. */
  function unanswered(part: Part): void {
    const now = performance.now();
    const isHeard = ({ at, from, heardAt }: Part): boolean => at > from && now - heardAt < HEARD_MS;
    if ([...parts.open].some((other) => other !== part && isHeard(other))) refused();
    else count.interrupted(now);
  }

  /** The answer for a part; undefined when there is none for a further connection. */
  async function ask(part: Part, untilThen: AbortSignal): Promise<HttpResponse | undefined> {
    const headers = rangeHeaders(part.at, part.end, assembly.source);
    for (;;) {
      const { located } = transfer;
      // A hub counts what asks for the stable address, so that one is asked again only when the other has expired.
      const url = located ?? request.url;
      const asked = http.request(url, { headers, signal: untilThen, retries: 0 });
      const response = await asked.catch((error: unknown) => {
        if (!(error instanceof ModeldlError) || error.code !== 'NETWORK' || untilThen.aborted) throw error;
        return undefined;
      });
      if (response !== undefined && (response.status === 206 || response.status === 200)) {
        transfer.located = response.url;
        return response;
      }
      if (response === undefined) {
        unanswered(part);
        return undefined;
      }
      response.discard();
      const hasExpired = EXPIRED.includes(response.status);
      if (!hasExpired || located === undefined || located === request.url) {
        refused();
        return undefined;
      }
      if (transfer.located === located) transfer.located = undefined;
    }
  }

  function refused(): void {
    count.refused(running.size, performance.now());
  }

  const timer = isAlone ? undefined : setInterval(look, TICK_MS);
  return {
    active: () => running.size,
    failure: failing.signal,
    pause: () => Promise.race([...running, new Promise<void>((resolve) => paused.push(resolve))]),
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await Promise.all(running);
    },
  };
}
