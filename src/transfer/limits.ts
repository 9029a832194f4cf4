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

export interface ServerLimits {
  /** Milliseconds until a server that said "no requests left" takes more. */
  delay(url: URL, now: number): number;
  /** Reads the answer's `RateLimit` header. */
  observe(url: URL, header: string | undefined, now: number): void;
}

/**
 * Obeys the `RateLimit` header (IETF draft, as Hugging Face sends it: `"api";r=<left>;t=<seconds to reset>`) before a
 * 429 happens. Hugging Face counts its API and everything else apart, so buckets are by origin and that distinction.
 */
export function createServerLimits(): ServerLimits {
  const resets = new Map<string, number>();
  const bucket = (url: URL): string => `${url.origin} ${url.pathname.startsWith('/api/') ? 'api' : 'other'}`;
  return {
    delay: (url, now) => Math.max(0, (resets.get(bucket(url)) ?? 0) - now),
    observe(url, header, now) {
      const left = /;\s*r=(\d+)/.exec(header ?? '')?.[1];
      const reset = /;\s*t=(\d+)/.exec(header ?? '')?.[1];
      if (left === undefined || reset === undefined) return;
      if (left === '0') resets.set(bucket(url), now + (Number(reset) + 1) * 1000);
      else resets.delete(bucket(url));
    },
  };
}

/** Milliseconds that a `Retry-After` header asks for: seconds, or a date. */
export function retryAfter(header: string | undefined, nowEpochMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowEpochMs);
}

/** Wait before attempt `attempt + 1`: 0.5 s doubling to 8 s, with jitter of half of it so that many clients spread. */
export function backoff(attempt: number, random: () => number): number {
  const full = Math.min(8000, 500 * 2 ** attempt);
  return full / 2 + (full / 2) * random();
}
