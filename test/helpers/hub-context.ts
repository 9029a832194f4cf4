/** A hub's context over modeldl's own HTTP client, wired as the core wires it, without a store. */
import { tmpdir } from 'node:os';
import { expect } from 'vitest';
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { ModeldlEvent } from '../../src/events.js';
import type { Credential, Hub, HubContext, HubSettingsContext } from '../../src/hub.js';
import { createHttpClient, HTTP_DEFAULTS, type HttpClient } from '../../src/transfer/http.js';

export interface TestHubContext extends HubContext {
  readonly warnings: readonly string[];
  /** What the HTTP client said: retries mostly. */
  readonly events: readonly ModeldlEvent[];
  /** Ends kept connections. */
  close(): void;
}

export interface TestHubOptions extends Partial<HubSettingsContext> {
  readonly credential?: Credential | undefined;
  readonly signal?: AbortSignal;
  readonly known?: HubContext['known'];
  /** Attempts after the first; they follow without a pause. Default 0. */
  readonly retries?: number;
  readonly offline?: boolean;
  /** How long a body may be silent, milliseconds; default as the program has it. */
  readonly idleTimeoutMs?: number;
}

/** Whatever answers at the credential's origin gets it, and nothing else does. */
export function createHubContext(hub: Hub, options: TestHubOptions = {}): TestHubContext {
  const { credential, known, retries = 0, offline = false } = options;
  const { idleTimeoutMs = HTTP_DEFAULTS.idleTimeoutMs } = options;
  const settings: HubSettingsContext = {
    settings: options.settings ?? {},
    environment: options.environment ?? {},
    home: options.home ?? tmpdir(),
  };
  const signal = options.signal ?? new AbortController().signal;
  const warnings: string[] = [];
  const events: ModeldlEvent[] = [];
  const belongs = (url: string | URL): boolean =>
    hub.credentials !== undefined &&
    new URL(url).origin === new URL(hub.credentials.endpoint(settings)).origin;
  const http: HttpClient = createHttpClient({
    ...HTTP_DEFAULTS,
    idleTimeoutMs,
    userAgent: 'modeldl-test',
    proxy: {},
    ca: [],
    offline,
    retries,
    authorize: async (url) => {
      const own = await hub.authorize?.(url, settings);
      if (own !== undefined || credential === undefined || !belongs(url)) return own;
      return hub.credentials?.headers?.(credential) ?? { authorization: `Bearer ${credential.token}` };
    },
    allow: (url) => hub.allow?.(url, settings),
    challenged: async (url, header, fetch) => hub.answerChallenge?.({ url, header, fetch, signal }, settings),
    emit: (event) => events.push(event),
    wait: () => Promise.resolve(),
  });
  return {
    ...settings,
    fetch: http.fetch,
    signal,
    credential: (url) => Promise.resolve(belongs(url) ? credential : undefined),
    ...(known === undefined ? {} : { known }),
    warn: (message) => warnings.push(message),
    warnings,
    events,
    close: () => {
      http.close();
    },
  };
}

/** The ModeldlError that a promise rejects with; anything else fails the test. */
export async function refusalOf(work: Promise<unknown>, code: ErrorCode): Promise<ModeldlError> {
  const outcome = await work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in outcome)) expect.fail(`Expected ${code}, got ${JSON.stringify(outcome.value)}`);
  const { error } = outcome;
  if (!(error instanceof ModeldlError)) throw error;
  expect({ code: error.code, message: error.message }).toMatchObject({ code });
  return error;
}
