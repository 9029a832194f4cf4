/**
 * The hub's API through `@huggingface/hub`, and the one place that bridges what the SDK lacks: it gets a `fetch` that
 * goes through modeldl's client and adds nothing of its own.
 *
 * - Tokens: the SDK takes only those that start with `hf_`, so it is given none; modeldl's client adds the credential.
 * - Errors: the SDK drops the `X-Error-Code` header that tells them apart, so refusals never reach it.
 * - Pages: the SDK follows any absolute `Link`, relative ones not at all; here they are resolved and kept to the hub.
 * - Addresses: the SDK puts ids and tree revisions into them as they are, so it gets only checked names and commits.
 * - Answers: the SDK casts them; here they are JSON, bounded and validated.
 */
import type { PipelineType } from '@huggingface/hub';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, Identity } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { isLoopback } from '../endpoint.js';
import { isModelId } from './reference.js';
import { isWebPage, notAHub, refusal, type Asked, type KnownRefs } from './refusal.js';

export const PUBLIC_ENDPOINT = 'https://huggingface.co';

/** Bound on one answer, bytes: a page of a listing has at most 1,000 entries of well under 1 KiB. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** Bound on a listing: the hub advises against more than 100,000 files in a repository. */
const MAX_ENTRIES = 1_000_000;
/** The SDK insists on a token of this form for `whoAmI`; the header it makes of it is never sent. */
const PLACEHOLDER_TOKEN = 'hf_placeholder';

const infoSchema = v.object({
  name: v.pipe(v.string(), v.check(isModelId)),
  sha: v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/)),
  gated: v.optional(v.union([v.boolean(), v.string()])),
  task: v.nullish(v.string()),
  library_name: v.nullish(v.string()),
  tags: v.nullish(v.array(v.string())),
  cardData: v.nullish(v.looseObject({ license: v.nullish(v.union([v.string(), v.array(v.string())])) })),
});

export type ModelInfo = v.InferOutput<typeof infoSchema>;

const entrySchema = v.object({
  type: v.string(),
  path: v.string(),
  size: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  oid: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/))),
  lfs: v.nullish(
    v.object({
      oid: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    }),
  ),
  xetHash: v.nullish(v.string()),
});

export type TreeEntry = v.InferOutput<typeof entrySchema>;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** What is only shown is left out where it is odd, not the whole list with it. */
const shown = <Schema extends v.GenericSchema>(
  schema: Schema,
): v.SchemaWithFallback<v.NullishSchema<Schema, undefined>, undefined> =>
  v.fallback(v.nullish(schema), undefined);
const listedSchema = v.object({
  name: v.string(),
  updatedAt: shown(v.date()),
  private: shown(v.boolean()),
  gated: shown(v.union([v.boolean(), v.string()])),
  downloads: shown(count),
  likes: shown(count),
  task: shown(v.string()),
  library_name: shown(v.string()),
  tags: shown(v.array(v.string())),
  /** Counts of weights by the type that they are stored in. */
  safetensors: shown(v.object({ parameters: shown(v.record(v.string(), count)), total: shown(count) })),
});

/** A model in the list of all. */
export type ListedModel = v.InferOutput<typeof listedSchema>;

export interface ListQuery {
  /** Part of the id; empty for all. */
  readonly text: string;
  readonly owner?: string;
  readonly task?: string;
  /** All of which a model has. */
  readonly tags: readonly string[];
  readonly sort: 'downloads' | 'likes' | 'lastModified';
  readonly limit: number;
}

const refNames = v.optional(v.array(v.looseObject({ name: v.string() })), []);
const refsSchema = v.object({ branches: refNames, tags: refNames });

const identitySchema = v.looseObject({
  name: v.string(),
  auth: v.optional(
    v.looseObject({ accessToken: v.optional(v.looseObject({ role: v.optional(v.string()) })) }),
  ),
  orgs: v.optional(v.array(v.looseObject({ name: v.string() }))),
});

export interface HubApi {
  info(id: string, revision: string): Promise<ModelInfo>;
  /** Ids of an owner's models that a text is part of, most downloaded first. */
  names(owner: string, text: string, limit: number): Promise<readonly string[]>;
  /** The list of models: a request for 500 of them, as far as it is read. */
  models(query: ListQuery): AsyncIterable<ListedModel>;
  /** All entries of a commit, directories included. */
  tree(id: string, commit: string): Promise<readonly TreeEntry[]>;
  whoami(): Promise<Identity>;
  /** Branches and tags, as they were asked for when a revision was refused as unknown. */
  refusedRefs(): KnownRefs | undefined;
  /** Asks whether a file's bytes would be given. @throws ModeldlError GATED, AUTH, NOT_FOUND, NETWORK when not */
  checkFile(url: string): Promise<void>;
}

/** Told once in a run, whose environment object this is. */
const toldUnencrypted = new WeakSet<HubContext['environment']>();

/** Mirrors inside a network are often had by http alone, so it is said and not refused. */
async function warnUnencrypted(context: HubContext, endpoint: string): Promise<void> {
  const { protocol, hostname, origin } = new URL(endpoint);
  if (protocol === 'https:' || isLoopback(hostname) || toldUnencrypted.has(context.environment)) return;
  const credential = await context.credential(endpoint);
  if (credential === undefined) return;
  toldUnencrypted.add(context.environment);
  context.warn(
    `The token from ${credential.source} is sent without encryption, readable for all between, to ${origin}`,
  );
}

/** @param asked what error messages are about */
export function openApi(context: HubContext, asked: Asked): HubApi {
  const { endpoint } = asked;
  const warned = new Set<string>();
  let known: KnownRefs | undefined;

  const ask: typeof globalThis.fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : input.toString();
    await warnUnencrypted(context, endpoint);
    const response = await context.fetch(url, {
      headers: { accept: 'application/json' },
      signal: context.signal,
      ...(init?.method === undefined ? {} : { method: init.method }),
      ...(init?.redirect === undefined ? {} : { redirect: init.redirect }),
    });
    warnOnce(response);
    return response;
  };

  /** The hub's notices to its users: `topic; message`. */
  function warnOnce(response: Response): void {
    const warning = response.headers.get('x-hf-warning');
    if (warning === null || warned.has(warning)) return;
    warned.add(warning);
    context.warn(`${endpoint} says: ${warning.replace(/^[^;]*;\s*/, '').slice(0, 500)}`);
  }

  /** The `fetch` of the SDK, for answers of a shape that it takes apart without looking. */
  function bridge(shape: v.GenericSchema): typeof globalThis.fetch {
    return async (input) => {
      const response = await ask(input);
      const body = await readText(response, asked);
      if (!response.ok) throw await refusal(response, body, { ...asked, refs }, context);
      if (isWebPage(response) || !v.is(shape, parseJson(body))) throw notAHub(response, asked);
      const next = nextPage(response, asked);
      return new Response(body, {
        headers: {
          'content-type': 'application/json',
          ...(next === undefined ? {} : { link: `<${next}>; rel="next"` }),
        },
      });
    };
  }

  /** Not in the SDK. Only for hints, so a failure is no answer rather than an error. */
  async function refs(): Promise<KnownRefs> {
    try {
      const response = await ask(`${endpoint}/api/models/${asked.id ?? ''}/refs`);
      const found = v.parse(refsSchema, parseJson(await readText(response, asked)));
      known = {
        branches: found.branches.map(({ name }) => name),
        tags: found.tags.map(({ name }) => name),
      };
      return known;
    } catch (error) {
      if (context.signal.aborted) throw error;
      return { branches: [], tags: [] };
    }
  }

  /** Checks what the SDK passed through. */
  function validated<Schema extends v.GenericSchema>(schema: Schema, answer: unknown): v.InferOutput<Schema> {
    const result = v.safeParse(schema, answer);
    if (result.success) return result.output;
    const [issue] = result.issues;
    throw new ModeldlError('NETWORK', `No answer of a Hugging Face hub: ${endpoint}`, {
      hint: `check the endpoint (\`HF_ENDPOINT\`, \`hubs.hf.endpoint\`): ${v.getDotPath(issue) ?? 'answer'}: ${issue.message}`,
      details: { url: endpoint },
    });
  }

  return {
    info: async (id, revision) => {
      const { modelInfo } = await import('@huggingface/hub');
      const answer: unknown = await modelInfo({
        name: id,
        revision,
        hubUrl: endpoint,
        fetch: bridge(v.looseObject({})),
        additionalFields: ['sha', 'cardData', 'tags', 'library_name'],
      });
      return validated(infoSchema, answer);
    },
    names: async (owner, text, limit) => {
      const { listModels } = await import('@huggingface/hub');
      const names: string[] = [];
      const found = listModels({
        search: { owner, query: text },
        limit,
        hubUrl: endpoint,
        fetch: refusingLoops(bridge(v.array(v.looseObject({ id: v.string() }))), asked),
      });
      for await (const { name } of found) if (isModelId(name)) names.push(name);
      return names;
    },
    models: async function* ({ text, owner, task, tags, sort, limit }) {
      const { listModels } = await import('@huggingface/hub');
      const pages = listModels({
        search: {
          query: text,
          tags: [...tags],
          ...(owner === undefined ? {} : { owner }),
          // The hub knows its tasks, and the SDK's type those of its day.
          ...(task === undefined ? {} : { task: task as PipelineType }),
        },
        sort,
        limit,
        additionalFields: ['library_name', 'tags', 'safetensors'],
        hubUrl: endpoint,
        fetch: refusingLoops(bridge(v.array(v.looseObject({ id: v.string() }))), asked),
      });
      for await (const model of pages) if (isModelId(model.name)) yield validated(listedSchema, model);
    },
    tree: async (id, commit) => {
      const { listFiles } = await import('@huggingface/hub');
      const entries: TreeEntry[] = [];
      const pages = listFiles({
        repo: { type: 'model', name: id },
        revision: commit,
        recursive: true,
        hubUrl: endpoint,
        fetch: refusingLoops(bridge(v.array(v.looseObject({}))), asked),
      });
      for await (const entry of pages) {
        if (entries.length === MAX_ENTRIES) throw endless(asked);
        entries.push(validated(entrySchema, entry));
      }
      return entries;
    },
    whoami: async () => {
      const { whoAmI } = await import('@huggingface/hub');
      const answer: unknown = await whoAmI({
        accessToken: PLACEHOLDER_TOKEN,
        hubUrl: endpoint,
        fetch: bridge(v.looseObject({ auth: v.looseObject({}) })),
      });
      const { name, auth, orgs } = validated(identitySchema, answer);
      const role = auth?.accessToken?.role;
      return {
        name,
        ...(role === undefined ? {} : { scope: role }),
        ...(orgs === undefined ? {} : { organisations: orgs.map((organisation) => organisation.name) }),
      };
    },
    refusedRefs: () => known,
    checkFile: async (url) => {
      // A redirect is a yes: to the bytes, whose address nobody needs yet.
      const response = await ask(url, { method: 'HEAD', redirect: 'manual' });
      await response.body?.cancel();
      if (response.status >= 400) throw await refusal(response, '', asked, context);
    },
  };
}

/** The address of the next page, if there is one. @throws ModeldlError NETWORK when it is not on the hub */
function nextPage(response: Response, asked: Asked): string | undefined {
  const link = /<([^>]*)>\s*;[^,<]*\brel="?next"?/i.exec(response.headers.get('link') ?? '')?.[1];
  if (link === undefined) return undefined;
  const base = response.url === '' ? asked.endpoint : response.url;
  const next = URL.canParse(link, base) ? new URL(link, base) : undefined;
  if (next !== undefined && [new URL(asked.endpoint).origin, new URL(base).origin].includes(next.origin)) {
    return next.href;
  }
  throw new ModeldlError(
    'NETWORK',
    `The hub's listing goes on at another server, which is not followed: ${next === undefined ? link : next.origin}`,
    {
      hint: `the mirror ${asked.endpoint} passes on addresses of its origin; use another endpoint`,
      details: { url: base },
    },
  );
}

function refusingLoops(fetch: typeof globalThis.fetch, asked: Asked): typeof globalThis.fetch {
  const seen = new Set<string>();
  return (input, init) => {
    const url = input instanceof Request ? input.url : input.toString();
    if (seen.has(url)) return Promise.reject(endless(asked));
    seen.add(url);
    return fetch(input, init);
  };
}

function endless({ endpoint, id = '' }: Asked): ModeldlError {
  return new ModeldlError('NETWORK', `The listing of ${id} has no end at ${endpoint}`, {
    hint: 'the hub or a mirror is broken; try another endpoint',
    details: { url: endpoint },
  });
}

async function readText(response: Response, asked: Asked): Promise<string> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: ReadableStream<Uint8Array> = response.body;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw notAHub(response, asked);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
