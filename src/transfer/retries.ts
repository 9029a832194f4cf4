/** How often, and how long in all, a download that breaks off is continued. */
import { ModeldlError } from '../errors.js';
import { redactUrl } from '../redact.js';
import { LEAST_BYTES_PER_SECOND } from './body.js';
import type { DownloadRequest } from './download.js';
import type { HttpClient } from './http.js';
import { backoff } from './limits.js';

/** What a connection brought before it broke off. */
export interface Advance {
  /** Those that are kept. */
  readonly bytes: number;
  /** When it was asked for, milliseconds on a clock that never jumps. */
  readonly since: number;
}

export interface Retries {
  /**
   * Waits before the rest is asked for again.
   * @param advance one that is more than a drip makes up for the failures before
   * @param restarts how often the file started over
   * @throws ModeldlError NETWORK when that was tried often or long enough
   */
  after(problem: string, advance: Advance, restarts: number, signal: AbortSignal): Promise<void>;
}

/** @param hint what to do when it is given up */
export function createRetries(
  { settings, wait }: HttpClient,
  request: DownloadRequest,
  hint: () => string,
): Retries {
  const url = redactUrl(request.url);
  let failures = 0;
  let waitedMs = 0;
  return {
    async after(problem, { bytes, since }, restarts, signal) {
      const seconds = (performance.now() - since) / 1000;
      const advanced = bytes > 0 && bytes >= seconds * LEAST_BYTES_PER_SECOND;
      failures = advanced ? 1 : failures + 1;
      if (advanced) waitedMs = 0;
      const waitMs = advanced ? 0 : backoff(failures, Math.random);
      // A file that starts over again and again may break off later each time, and never end.
      const tried = Math.max(failures, restarts) > settings.retries;
      if (tried || waitedMs + waitMs > settings.maxWaitMs) {
        throw new ModeldlError('NETWORK', `Cannot finish ${request.label}: ${problem}`, {
          hint: hint(),
          details: { url, file: request.label },
        });
      }
      settings.emit({ type: 'retry', url, reason: problem, attempt: failures, waitMs });
      if (waitMs === 0) return;
      waitedMs += waitMs;
      await wait(waitMs, signal);
    },
  };
}
