/** A hub's context over the real HTTP client, wired as the core wires it. */
import type { Hub, HubContext } from '../../src/hub.js';
import { createHttpClient, HTTP_DEFAULTS, type HttpClient } from '../../src/transfer/http.js';

export interface TestContext extends HubContext {
  readonly http: HttpClient;
  readonly warnings: string[];
}

export function contextOf(
  hub: Hub,
  options: {
    readonly home: string;
    readonly settings?: Readonly<Record<string, unknown>>;
    readonly environment?: Readonly<Record<string, string | undefined>>;
    readonly signal?: AbortSignal;
    readonly offline?: boolean;
  },
): TestContext {
  const known = { settings: options.settings ?? {}, environment: options.environment ?? {}, home: options.home };
  const warnings: string[] = [];
  const http = createHttpClient({
    ...HTTP_DEFAULTS,
    userAgent: 'modeldl-test',
    proxy: {},
    ca: [],
    offline: options.offline ?? false,
    retries: 0,
    authorize: (url) => Promise.resolve(hub.authorize?.(url, known)),
    allow: (url) => hub.allow?.(url, known),
    emit: () => undefined,
  });
  return {
    ...known,
    http,
    warnings,
    fetch: http.fetch,
    signal: options.signal ?? new AbortController().signal,
    credential: () => Promise.resolve(undefined),
    warn: (message) => warnings.push(message),
  };
}
