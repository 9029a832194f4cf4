/** The releases of Ultralytics' assets, as GitHub's API tells them, and files as the web site serves them. */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, Identity } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { apiOf, ASSETS, assetAddress } from './endpoint.js';
import { noRepository, notTheApi, refusal } from './refusal.js';

/** Most that one page of a list holds. */
const PAGE = 100;
/** Bound on a list: a repository has far fewer releases. */
const MAX_PAGES = 20;

const assetSchema = v.object({
  name: v.string(),
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Anything but `uploaded` is there in part. */
  state: v.optional(v.string()),
  /** `sha256:<hex>`; null for what was uploaded before June 2025. */
  digest: v.nullish(v.string()),
});
const releaseSchema = v.object({
  tag_name: v.pipe(v.string(), v.regex(/^\w[\w.+-]*(\/\w[\w.+-]*)*$/)),
  draft: v.optional(v.boolean()),
  prerelease: v.optional(v.boolean()),
  assets: v.array(assetSchema),
});
const messageSchema = v.looseObject({ message: v.string() });
const userSchema = v.looseObject({ login: v.string() });

export interface Asset {
  /** Bytes. */
  readonly size?: number;
  /** Lower-case hex. */
  readonly sha256?: string;
}

export interface Release {
  readonly tag: string;
  /** Neither a draft nor a trial: what a floating reference may mean. */
  readonly stable: boolean;
  readonly assets: ReadonlyMap<string, Asset>;
}

export interface Releases {
  /** The one that GitHub calls latest; undefined when there is none. @throws ModeldlError AUTH, NETWORK */
  latest(): Promise<Release | undefined>;
  /** @throws ModeldlError AUTH, NETWORK */
  tagged(tag: string): Promise<Release | undefined>;
  /** All, newest first. @throws ModeldlError NOT_FOUND for the repository, AUTH, NETWORK */
  all(): Promise<readonly Release[]>;
  /**
   * Asks the web site for one byte of an asset: its digest is not told there. Undefined when it has no such asset.
   * @throws ModeldlError NETWORK
   */
  probe(tag: string, asset: string): Promise<Asset | undefined>;
  whoami(): Promise<Identity>;
}

export function openReleases(context: HubContext, endpoint: string): Releases {
  const api = apiOf(endpoint);

  /** Undefined for 404. */
  async function ask<Schema extends v.GenericSchema>(
    schema: Schema,
    path: string,
  ): Promise<{ answer: v.InferOutput<Schema>; response: Response } | undefined> {
    const response = await context.fetch(`${api}/${path}`, {
      headers: { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
      signal: context.signal,
    });
    const isJson = /^application\/(\S+\+)?json\b/i.test(response.headers.get('content-type') ?? '');
    // The client bounds what is read of a document.
    const text = isJson ? await response.text() : '';
    if (!isJson) await response.body?.cancel();
    if (response.status === 404) {
      if (isJson) return undefined;
      throw notTheApi(response, endpoint);
    }
    if (!response.ok) {
      const said = v.safeParse(messageSchema, parseJson(text));
      throw await refusal(response, said.success ? said.output.message : '', endpoint, context);
    }
    const answer = v.safeParse(schema, parseJson(text));
    if (!answer.success) throw notTheApi(response, endpoint);
    return { answer: answer.output, response };
  }

  async function one(path: string): Promise<Release | undefined> {
    const found = await ask(releaseSchema, `repos/${ASSETS}/releases/${path}`);
    return found === undefined ? undefined : described(found.answer);
  }

  return {
    latest: () => one('latest'),
    tagged: async (tag) => {
      const release = await one(`tags/${encodeURIComponent(tag)}`);
      return release?.tag === tag ? release : undefined;
    },
    all: async () => {
      const releases: Release[] = [];
      for (let page = 1; page <= MAX_PAGES; page += 1) {
        const path = `repos/${ASSETS}/releases?per_page=${PAGE}&page=${page}`;
        const found = await ask(v.array(releaseSchema), path);
        if (found === undefined) throw await noRepository(endpoint, api, context);
        releases.push(...found.answer.map(described));
        if (found.answer.length < PAGE) break;
      }
      return releases;
    },
    probe: async (tag, asset) => {
      const response = await context.fetch(assetAddress(endpoint, tag, asset), {
        headers: { range: 'bytes=0-0' },
        signal: context.signal,
      });
      await response.body?.cancel();
      if (response.status === 404) return undefined;
      const type = response.headers.get('content-type') ?? '';
      if (!response.ok || /^(text\/html|application\/(xhtml|json))/i.test(type))
        throw notTheApi(response, endpoint);
      const length =
        response.status === 206
          ? /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1]
          : response.headers.get('content-length');
      return length == null || !/^\d+$/.test(length) ? {} : { size: Number(length) };
    },
    whoami: async () => {
      const found = await ask(userSchema, 'user');
      if (found === undefined) {
        throw new ModeldlError('AUTH', `${new URL(api).host} knows no user of this token`, {
          hint: 'use a token of an account',
          details: { url: `${api}/user` },
        });
      }
      const scope = found.response.headers.get('x-oauth-scopes') ?? '';
      return { name: found.answer.login, ...(scope === '' ? {} : { scope }) };
    },
  };
}

function described({
  tag_name: tag,
  draft,
  prerelease,
  assets,
}: v.InferOutput<typeof releaseSchema>): Release {
  const complete = assets.filter(({ state }) => state === undefined || state === 'uploaded');
  return {
    tag,
    stable: draft !== true && prerelease !== true,
    assets: new Map(
      complete.map(({ name, size, digest }) => {
        const sha256 = /^sha256:([0-9a-f]{64})$/.exec(digest ?? '')?.[1];
        return [name, { size, ...(sha256 === undefined ? {} : { sha256 }) }];
      }),
    ),
  };
}
