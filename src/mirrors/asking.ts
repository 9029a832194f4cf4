/** Asking for metadata: the whole of an answer comes from one source, the first in order that gives one. */
import { hubContext, type Context } from '../context.js';
import { ModeldlError, throwIfAborted } from '../errors.js';
import type { Hub, HubContext } from '../hub.js';
import type { HttpClient } from '../transfer/http.js';
import { failureOf, isUnreachable, noteUnreachable, warnLeft } from './failures.js';
import { mirrored, nameOf, sourcesOf, type Source } from './sources.js';

/** What sources are asked for. */
export interface Question {
  /** Of the model, where it is about one. */
  readonly id?: string;
  /** For messages. */
  readonly text: string;
}

/** A source with others after it is not waited for. */
export const HASTE = { retries: 0, maxWaitMs: 0, continuations: 1 } as const;

/**
 * Runs a hub's work at its sources, one after another, until one can do it. What the hub itself says is the last word,
 * unless it cannot be reached; registries that hold its models are not asked.
 *
 * @param patience whether the last of them is waited for
 * @param stored what the store can tell the hub about the reference
 * @param work gets how messages call the source, and whether it is the last
 * @throws ModeldlError what the hub itself refused with, or else the last failure
 */
export async function askSources<Result>(
  context: Context,
  hub: Hub,
  { id, text }: Question,
  patience: 'patient' | 'hasty',
  stored: Pick<HubContext, 'known'>,
  work: (asking: HubContext, name: string, isLast: boolean) => Promise<Result>,
): Promise<Result> {
  const own = await hubContext(context, hub, stored);
  const sources = sourcesOf(context, hub, id).filter(({ kind }) => kind !== 'registry');
  const last = sources.at(-1);
  const http = await context.httpFor(hub);
  const lastClient = patience === 'patient' ? http : http.as(HASTE);
  if (sources.length < 2 || last === undefined)
    return work({ ...own, fetch: lastClient.fetch }, hub.title, true);
  let refusal: ModeldlError | undefined;
  for (const source of sources) {
    if (source !== last && isUnreachable(context, source)) continue;
    throwIfAborted(context.signal);
    const client = source === last ? lastClient : http.as(HASTE);
    try {
      return await work(askingAt(own, client, source, sources), nameOf(hub, source), source === last);
    } catch (thrown) {
      const error = failureOf(thrown, context.signal);
      // What is wrong with the question is so at every source.
      if (error.code === 'USAGE') throw error;
      noteUnreachable(context, source, error);
      if (source.kind === 'origin') {
        if (error.code !== 'NETWORK') throw error;
        refusal = error;
      }
      if (source === last) throw refusal ?? error;
      warnLeft(context, hub, source, text, error);
    }
  }
  throw new Error('No source was asked');
}

function askingAt(own: HubContext, http: HttpClient, source: Source, sources: readonly Source[]): HubContext {
  if (source.kind !== 'mirror') return { ...own, fetch: http.fetch };
  const endpoint = sources.find(({ kind }) => kind === 'origin')?.address;
  return {
    ...own,
    fetch: mirroringFetch(http, endpoint, source.address),
    credential: () => Promise.resolve(undefined),
  };
}

/**
 * What the hub asks of its endpoint is asked of the mirror, without any credential, and the answer is as if it came from
 * the endpoint. Other addresses, such as an API's with a host of its own, are asked as they are.
 */
function mirroringFetch(
  http: HttpClient,
  endpoint: string | undefined,
  mirror: string,
): typeof globalThis.fetch {
  const anonymous = http.as({ anonymous: true });
  return async (input, init) => {
    const url = input instanceof Request ? input.url : input.toString();
    const target = mirrored(url, endpoint, mirror);
    if (target === undefined || endpoint === undefined) return http.fetch(input, init);
    const request = input instanceof Request ? new Request(target, input) : target;
    const response = await anonymous.fetch(request, init).catch((error: unknown) => {
      throw asItsOwn(error);
    });
    return asFrom(response, (text) => text.replaceAll(mirror, endpoint));
  };
}

/** Where a mirror leads may be nowhere to go: that is not what is wrong with the reference. */
function asItsOwn(error: unknown): unknown {
  if (!(error instanceof ModeldlError) || error.code !== 'USAGE') return error;
  const { message, hint, cause, details } = error;
  return new ModeldlError('UNSUPPORTED', message, { hint, cause, details });
}

function asFrom(response: Response, renamed: (text: string) => string): Response {
  const headers = new Headers(response.headers);
  for (const name of ['link', 'location']) {
    const value = headers.get(name);
    if (value !== null) headers.set(name, renamed(value));
  }
  const made = new Response(response.body, { status: response.status, headers });
  Object.defineProperty(made, 'url', { value: renamed(response.url) });
  return made;
}
