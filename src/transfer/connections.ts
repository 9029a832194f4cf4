/**
 * How many connections one file gets. A second one, and then twice as many again and again, as long as that brings
 * clearly more bytes; fewer when it does not, when the server refuses or when throughput collapses. Measures only; it
 * opens nothing, and the clock is the caller's.
 */

export interface ConnectionSample {
  /** Milliseconds on a clock that never jumps. */
  readonly now: number;
  /** Bytes of the file that came so far. */
  readonly receivedBytes: number;
  /** Connections whose answers have begun. */
  readonly delivering: number;
  /** Can more connections help at all? Not while this process, or a limit of ours, is what holds the bytes up. */
  readonly mayGrow: boolean;
}

export interface ConnectionCount {
  /** Looks at a sample; returns how many connections there should be. */
  observe(sample: ConnectionSample): number;
  /** The server would not have another connection while so many were open. */
  refused(open: number, now: number): void;
  /** The network was gone, which says nothing of how many pay off when it is back. */
  interrupted(now: number): void;
}

/** A stage is measured this long, milliseconds: long enough for several round trips and the bursts of a throttled server. */
const WINDOW_MS = 100;
/** A stage that has not paid off after so many windows never will. */
const MAX_WINDOWS = 4;
/** Connections get this long to deliver before a stage is measured without them, milliseconds. */
const SETTLE_MS = 1000;
/** Twice the connections must bring so much more. */
const WORTHWHILE = 1.2;
/** What did not help is tried again after this long, then after twice as long each time, milliseconds. */
const RETRY_MS = 5000;
const MAX_RETRY_MS = 60_000;
/** While nothing grows, throughput is looked at this often, milliseconds. */
const HOLD_MS = 2000;
/** A throughput below this share of the best one has collapsed. */
const COLLAPSED = 0.1;

/** @param bound most connections ever, at least 1 */
export function createConnectionCount(bound: number): ConnectionCount {
  let count = 1;
  let most = Math.max(1, bound);
  /** Bytes per millisecond of half as many connections; undefined while nothing is tried. */
  let before: number | undefined;
  let stage: { since: number; measuredFrom: number | undefined; bytes: number } | undefined;
  let retryAt = 0;
  let retryMs = RETRY_MS;
  let best = 0;

  const begin = (sample: ConnectionSample): void => {
    stage = { since: sample.now, measuredFrom: undefined, bytes: sample.receivedBytes };
  };

  function measured(sample: ConnectionSample): { rate: number; elapsed: number } | undefined {
    if (stage === undefined) begin(sample);
    if (stage === undefined) return undefined;
    if (stage.measuredFrom === undefined) {
      if (sample.delivering < count && sample.now - stage.since < SETTLE_MS) return undefined;
      stage = { ...stage, measuredFrom: sample.now, bytes: sample.receivedBytes };
      return undefined;
    }
    const elapsed = sample.now - stage.measuredFrom;
    if (elapsed < WINDOW_MS) return undefined;
    return { rate: (sample.receivedBytes - stage.bytes) / elapsed, elapsed };
  }

  /** Takes back what was tried, or rests because no more is possible. */
  function hold(sample: ConnectionSample): void {
    before = undefined;
    begin(sample);
  }

  return {
    observe(sample) {
      const window = measured(sample);
      if (window === undefined) return count;
      const { rate, elapsed } = window;
      if (before !== undefined) {
        if (rate < before * WORTHWHILE) {
          if (elapsed < WINDOW_MS * MAX_WINDOWS) return count;
          count = Math.max(1, Math.floor(count / 2));
          retryAt = sample.now + retryMs;
          retryMs = Math.min(MAX_RETRY_MS, retryMs * 2);
          hold(sample);
          return count;
        }
        retryMs = RETRY_MS;
        best = rate;
        before = undefined;
      }
      if (count < most && sample.mayGrow && sample.now >= retryAt && rate > 0) {
        before = rate;
        count = Math.min(most, count * 2);
        begin(sample);
        return count;
      }
      if (elapsed < HOLD_MS) return count;
      if (count > 1 && sample.mayGrow && rate < best * COLLAPSED) {
        count = Math.floor(count / 2);
        retryAt = sample.now + RETRY_MS;
        if (count === 1) best = rate;
      } else best = Math.max(best, rate);
      hold(sample);
      return count;
    },
    refused(open, now) {
      most = Math.max(1, Math.min(most, open));
      count = Math.min(count, most);
      before = undefined;
      stage = undefined;
      retryAt = now + MAX_RETRY_MS;
    },
    interrupted(now) {
      count = 1;
      before = undefined;
      stage = undefined;
      retryAt = now + RETRY_MS;
      retryMs = RETRY_MS;
    },
  };
}
