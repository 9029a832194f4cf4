/** What slows requests down on purpose: `--limit-rate`, and the limits that servers announce. */

/** Waits; aborts with the signal's reason. Tests replace it, so that none of them sleeps. */
export type Wait = (milliseconds: number, signal: AbortSignal) => Promise<void>;

export interface RateLimiter {
  /** Milliseconds to wait before taking `bytes` more. */
  take(bytes: number, now: number): number;
}

/**
 * A bucket shared by all bodies of a client. It may run ahead by 100 ms of traffic, which keeps the average within a
 * few percent over any second without waking for every chunk.
 *
 * @param bytesPerSecond undefined for no limit
 */
export function createRateLimiter(bytesPerSecond: number | undefined): RateLimiter {
  let freeAt = 0;
  return {
    take(bytes, now) {
      if (bytesPerSecond === undefined) return 0;
      freeAt = Math.max(freeAt, now) + (bytes / bytesPerSecond) * 1000;
      const ahead = freeAt - now;
      return ahead > 100 ? ahead : 0;
    },
  };
}

/** One request that may be sent now. Exactly one of the two is called, once it is known how it went. */
export interface Grant {
  /** Reads the answer's `RateLimit` header. */
  answered(header: string | undefined, now: number): void;
  /** No answer came; the server may have counted it all the same. */
  lost(): void;
}

/** A request that has to wait, and then to ask again. */
export interface Hold {
  /** Milliseconds until it may ask again at the latest. */
  readonly waitMs: number;
  /** Settles when an answer to another request may have made room earlier; undefined when only time can. */
  readonly change?: Promise<void>;
  /** Is this the first one that is held back until this reset? The others need not be talked about. */
  readonly isNews: boolean;
}

export interface ServerLimits {
  /** Takes one of the requests that the server has left, or says how long there is none. */
  take(url: URL, now: number): Grant | Hold;
}

/** The addresses of an origin that are counted together, as far as their paths tell. */
interface Kind {
  /** Names of the limits that its last answer told; undefined before the first. */
  policies: readonly string[] | undefined;
  inFlight: number;
  /** When a request was first to be sent without knowing what is left; undefined while that is known. */
  unknownSince: number | undefined;
}

/** What is left of one limit. */
interface Bucket {
  left: number;
  /** Nothing is known of what comes after. */
  resetAt: number;
  /** Number of the answer that told. */
  learned: number;
  /** The reset that somebody was already held back for. */
  saidResetAt: number;
}

interface Origin {
  readonly kinds: Map<string, Kind>;
  readonly buckets: Map<string, Bucket>;
  /** Settles with the next answer. */
  change: Promise<void>;
  changed: () => void;
}

/** Answers that tell resets less than this apart speak of the same one: they tell it in whole seconds, milliseconds. */
const SAME_RESET_MS = 2000;
/** The answer that tells what is left is waited for so long: nothing else should hang on one that hangs, milliseconds. */
const PROBE_MS = 2000;

/**
 * Obeys the `RateLimit` header (IETF draft, as Hugging Face sends it: `"api";r=<left>;t=<seconds to reset>`) before a
 * 429 happens: every request takes one of those that are left, and the ones whose answer is still to come count as
 * taken, since the last answer may not know of them. Where a server announces limits, but nothing is known of what is
 * left, one request goes ahead and tells the others.
 */
export function createServerLimits(): ServerLimits {
  const origins = new Map<string, Origin>();
  let answers = 0;

  return {
    take(url, now) {
      const origin = entry(origins, url.origin, newOrigin);
      const kind = entry(origin.kinds, kindOf(url), newKind);
      const held = holdOf(origin, kind, now);
      if (held !== undefined) return held;
      const sent = answers;
      kind.inFlight += 1;
      const settle = (): void => {
        kind.inFlight -= 1;
        origin.changed();
        renew(origin);
      };
      return {
        answered(header, answeredAt) {
          answers += 1;
          const limits = parseLimits(header);
          // A gateway in trouble answers without them.
          if (limits.length > 0 || kind.policies === undefined)
            kind.policies = limits.map(({ name }) => name);
          kind.unknownSince = undefined;
          for (const limit of limits) learn(origin, limit, answeredAt, sent, answers);
          settle();
        },
        lost() {
          for (const { bucket } of bucketsOf(origin, kind)) bucket.left = Math.max(0, bucket.left - 1);
          settle();
        },
      };
    },
  };
}

function holdOf(origin: Origin, kind: Kind, now: number): Hold | undefined {
  const buckets = bucketsOf(origin, kind);
  const known = buckets.filter(({ bucket }) => now < bucket.resetAt);
  for (const { name, bucket } of known) {
    const inFlight = [...origin.kinds.values()]
      .filter(({ policies }) => policies?.includes(name))
      .reduce((sum, sharing) => sum + sharing.inFlight, 0);
    if (bucket.left > inFlight) continue;
    // Timers know whole milliseconds only, and a sum of fractions may fall short of where it should end.
    const waitMs = Math.ceil(bucket.resetAt - now);
    if (bucket.left > 0 && inFlight > 0) return { waitMs, change: origin.change, isNews: false };
    const isNews = bucket.saidResetAt !== bucket.resetAt;
    bucket.saidResetAt = bucket.resetAt;
    return { waitMs, isNews };
  }
  const announces = origin.buckets.size > 0;
  if (kind.policies === undefined ? !announces : known.length === buckets.length) return undefined;
  kind.unknownSince ??= now;
  const waitMs = kind.unknownSince + PROBE_MS - now;
  if (kind.inFlight === 0 || waitMs <= 0) return undefined;
  return { waitMs, change: origin.change, isNews: false };
}

function bucketsOf(
  origin: Origin,
  kind: Kind,
): readonly { readonly name: string; readonly bucket: Bucket }[] {
  return (kind.policies ?? []).flatMap((name) => {
    const bucket = origin.buckets.get(name);
    return bucket === undefined ? [] : [{ name, bucket }];
  });
}

/**
 * Answers overtake each other: only one to a request that was sent after the last word on its limit is surely a later
 * word; of the others the lowest number counts.
 *
 * @param sent how many answers had come when its request was sent
 * @param answer its own number
 */
function learn(origin: Origin, limit: Limit, now: number, sent: number, answer: number): void {
  const resetAt = now + (limit.resetSeconds + 1) * 1000;
  const before = origin.buckets.get(limit.name);
  const isLater =
    before === undefined ||
    now >= before.resetAt ||
    sent >= before.learned ||
    resetAt >= before.resetAt + SAME_RESET_MS;
  if (!isLater && (resetAt <= before.resetAt - SAME_RESET_MS || limit.left >= before.left)) return;
  const saidResetAt = before?.saidResetAt ?? 0;
  origin.buckets.set(limit.name, { left: limit.left, resetAt, learned: answer, saidResetAt });
}

interface Limit {
  readonly name: string;
  readonly left: number;
  readonly resetSeconds: number;
}

/** The limits of a `RateLimit` header, as far as they say when they are reset. */
function parseLimits(header = ''): readonly Limit[] {
  return header.split(',').flatMap((item) => {
    const name = /^\s*"?([^";]*)/.exec(item)?.[1];
    const left = /;\s*r=(\d+)/.exec(item)?.[1];
    const reset = /;\s*t=(\d+)/.exec(item)?.[1];
    if (name === undefined || left === undefined || reset === undefined) return [];
    return [{ name, left: Number(left), resetSeconds: Number(reset) }];
  });
}

/** Hugging Face counts its API, its files and its pages apart; which of them share a limit the answers tell. */
function kindOf({ pathname }: URL): string {
  return /\/(api\/resolve-cache|resolve|api)\//.exec(pathname)?.[1] ?? 'other';
}

function newKind(): Kind {
  return { policies: undefined, inFlight: 0, unknownSince: undefined };
}

function newOrigin(): Origin {
  const origin = {
    kinds: new Map(),
    buckets: new Map(),
    change: Promise.resolve(),
    changed: () => undefined,
  };
  renew(origin);
  return origin;
}

function renew(origin: Origin): void {
  origin.change = new Promise((resolve) => (origin.changed = resolve));
}

function entry<Value>(map: Map<string, Value>, key: string, make: () => Value): Value {
  const existing = map.get(key) ?? make();
  map.set(key, existing);
  return existing;
}

/** Milliseconds that a `Retry-After` header asks for: seconds, or a date. */
export function retryAfter(header: string | undefined, nowEpochMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowEpochMs);
}

/**
 * Milliseconds until a limit that is used up starts anew, by the headers that GitHub and others send: `X-RateLimit-Reset`
 * in seconds since 1970. (Where it is a number of seconds from now it is far smaller, and left alone.)
 */
export function resetAfter(
  remaining: string | undefined,
  reset: string | undefined,
  nowEpochMs: number,
): number | undefined {
  if (remaining !== '0' || reset === undefined || !/^\d{10}$/.test(reset)) return undefined;
  return Math.max(0, Number(reset) * 1000 - nowEpochMs);
}

/** Wait before attempt `attempt + 1`: 0.5 s doubling to 8 s, with jitter of half of it so that many clients spread. */
export function backoff(attempt: number, random: () => number): number {
  const full = Math.min(8000, 500 * 2 ** attempt);
  return full / 2 + (full / 2) * random();
}
