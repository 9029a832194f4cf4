/**
 * What every hub must do, as tests: call {@link describeHubConformance} with a world in which the hub meets a real
 * (local) server. Third-party hubs run the same tests.
 */
import { createHash, type Hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Digest, Hub, RemoteFile, SearchHit, Snapshot } from '../../src/hub.js';
import { checkListing, fileSystemRules } from '../../src/paths.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';

/** How the server misbehaves: fails, answers a web page to everything, or accepts a request and never answers. */
export type ServerFault = 'none' | '503' | 'html' | 'silent';

export interface HubWorld {
  readonly hub: Hub;
  /** Settings, environment, home and credential under which the hub finds the world's server. */
  readonly options: TestHubOptions;
  /** A model that exists, as a user types it, and the paths of its listing. */
  readonly model: { readonly text: string; readonly paths: readonly string[] };
  /** A model that does not exist, as a user types it. */
  readonly unknown: string;
  /** More references in every form that this hub takes, for parsing only. */
  readonly references: readonly string[];
  /** What a search for `text` finds, as references; undefined for hubs without one. */
  readonly search?: { readonly text: string; readonly finds: readonly string[] };
  /** Texts that no snapshot may hold: tokens, signatures. */
  readonly secrets: readonly string[];
  /** Only of hubs with a server. */
  setFault?(fault: ServerFault): void;
  /** Resolves once a request has reached the silent server. */
  reached?(): Promise<void>;
  close(): Promise<void>;
}

export interface ConformanceOptions {
  /** The hub reads this machine only: faults of a server are not tried. */
  readonly local?: boolean;
}

/** Registers the shared tests for a hub; `makeWorld` runs once, before the first of them. */
export function describeHubConformance(
  name: string,
  makeWorld: () => Promise<HubWorld>,
  options: ConformanceOptions = {},
): void {
  describe(`${name} as a hub`, () => {
    let world: HubWorld;
    const contexts: TestHubContext[] = [];

    beforeAll(async () => {
      world = await makeWorld();
    });
    afterAll(async () => {
      for (const context of contexts) context.close();
      await world.close();
    });

    function open(more: TestHubOptions = {}): TestHubContext {
      const context = createHubContext(world.hub, { ...world.options, ...more });
      contexts.push(context);
      return context;
    }
    function parse(text: string): Reference {
      return parseReference(text, [world.hub.syntax], { cwd: '/work', home: '/home/user' });
    }
    function resolve(reference: Reference, more?: TestHubOptions): Promise<Snapshot> {
      return world.hub.resolve(reference, open(more));
    }

    async function search(text: string, more?: TestHubOptions): Promise<readonly SearchHit[]> {
      const hits: SearchHit[] = [];
      for await (const hit of world.hub.search?.({ text, limit: 11 }, open(more)) ?? []) hits.push(hit);
      return hits;
    }
    function written(reference: SearchHit['reference']): string {
      return formatReference({ hub: world.hub.name, ...reference }, [world.hub.syntax]);
    }

    it('has a word for references and a title for people', () => {
      expect(world.hub.name).toMatch(/^[a-z][a-z0-9-]*$/);
      expect(world.hub.title).not.toBe('');
      expect(world.hub.syntax.hub).toBe(world.hub.name);
      expect(world.hub.syntax.schemes.length).toBeGreaterThan(0);
    });

    it('lists the files of a model', async () => {
      const snapshot = await resolve(parse(world.model.text));
      expect(snapshot.hub).toBe(world.hub.name);
      expect(snapshot.files.map((file) => file.path).sort()).toEqual([...world.model.paths].sort());
    });

    it('pins what it lists: the same again, and by its revision alone', async () => {
      const reference = parse(world.model.text);
      const first = await resolve(reference);
      expect(await resolve(reference)).toEqual(first);
      if (first.revision === undefined) {
        // The bytes are the only name: an answer of "unchanged" must be possible, or a size and digest be missing.
        expect(first.validator ?? first.files.some((file) => file.digest === undefined)).toBeTruthy();
        return;
      }
      const named = withoutQuery(reference);
      const pinned: Reference =
        world.hub.pinsByDigest === true
          ? { ...named, sha256: first.revision }
          : { ...named, id: first.id, revision: first.revision };
      const again = await resolve(pinned);
      expect(again.revision).toBe(first.revision);
      expect(again.files.map((file) => file.path)).toEqual(first.files.map((file) => file.path));
    });

    it('gives relative paths that no file system confuses', async () => {
      const { files } = await resolve(parse(world.model.text));
      const paths = files.map((file) => file.path);
      expect(() => {
        checkListing(paths, fileSystemRules('linux'));
      }).not.toThrow();
    });

    it('gives the size and digest of the bytes at each address', async () => {
      const { files } = await resolve(parse(world.model.text));
      const context = open();
      for (const file of files) {
        const bytes = await readAddress(file, context);
        if (file.size !== undefined) expect(bytes.length, file.path).toBe(file.size);
        if (file.digest === undefined) continue;
        expect(file.digest.hex, file.path).toMatch(/^[0-9a-f]{40,128}$/);
        expect(digestOf(bytes, file.digest.algorithm), file.path).toBe(file.digest.hex);
      }
    });

    it('gives stable addresses without credentials', async () => {
      const { files } = await resolve(parse(world.model.text));
      for (const { url } of files) {
        const { username, password, search, hash } = new URL(url);
        expect({ url, username, password, search, hash }).toEqual({
          url,
          username: '',
          password: '',
          search: '',
          hash: '',
        });
      }
    });

    it('puts nothing secret into a snapshot', async () => {
      const snapshot = await resolve(parse(world.model.text));
      // What a store would record: `query` is for fetching only and recorded nowhere.
      const recorded = JSON.stringify(snapshot, (key, value: unknown) =>
        key === 'query' ? undefined : value,
      );
      for (const secret of world.secrets) expect(recorded).not.toContain(secret);
    });

    it('writes references so that reading them gives the same again', () => {
      for (const text of [world.model.text, world.unknown, ...world.references]) {
        const reference = parse(text);
        const written = formatReference(reference, [world.hub.syntax]);
        // A web address's query is for fetching only: it is never written.
        expect({ text, ...parse(written) }).toEqual({ text, ...withoutQuery(reference) });
      }
    });

    it('says NOT_FOUND for an unknown name, which it names, with a hint', async () => {
      const error = await refusalOf(resolve(parse(world.unknown)), 'NOT_FOUND');
      expect(error.message).toContain(parse(world.unknown).id);
      expect(error.message).not.toMatch(/[.!]$/);
      expect(error.hint ?? '').not.toBe('');
    });

    it('stops at once when it was aborted before', async () => {
      const stop = new AbortController();
      stop.abort();
      await refusalOf(resolve(parse(world.model.text), { signal: stop.signal }), 'INTERRUPTED');
    });

    it('finds models by their names, if it has a search, as references that pull takes', async () => {
      expect(world.search === undefined).toBe(world.hub.search === undefined);
      if (world.search === undefined) return;
      const { text, finds } = world.search;
      const found = await search(text);
      expect(found.map(({ reference }) => written(reference))).toEqual(finds);
      for (const { reference } of found) {
        expect(parse(written(reference))).toEqual({ hub: world.hub.name, ...reference });
        for (const secret of world.secrets) expect(JSON.stringify(found)).not.toContain(secret);
      }
      const [first] = found;
      if (first !== undefined) await resolve({ hub: world.hub.name, ...first.reference });
      expect(await search(`${text}-that-is-not-there`)).toEqual([]);
    });

    if (options.local === true) return;

    describe('with a server that misbehaves', () => {
      function fault(kind: ServerFault): void {
        if (world.setFault === undefined) expect.fail('The world has no setFault, and its hub is not local');
        world.setFault(kind);
      }

      it('says NETWORK when it fails, with its address', async () => {
        fault('503');
        try {
          const error = await refusalOf(resolve(parse(world.model.text)), 'NETWORK');
          expect(`${error.message} ${error.details.url ?? ''}`).toMatch(/https?:\/\/|127\.0\.0\.1/);
        } finally {
          fault('none');
        }
      });

      it('does not take a web page for an answer', async () => {
        fault('html');
        try {
          const outcome = await resolve(parse(world.model.text)).then(
            () => 'a snapshot',
            (error: unknown) => error,
          );
          expect(outcome).toMatchObject({ name: 'ModeldlError' });
          expect(outcome).not.toMatchObject({ code: 'INTERNAL' });
        } finally {
          fault('none');
        }
      });

      it('stops when it is aborted while the server is silent', async () => {
        fault('silent');
        try {
          const stop = new AbortController();
          const work = refusalOf(resolve(parse(world.model.text), { signal: stop.signal }), 'INTERRUPTED');
          if (world.reached === undefined) expect.fail('The world has no reached');
          await world.reached();
          stop.abort();
          await work;
        } finally {
          fault('none');
        }
      });

      it('searches as it resolves: NETWORK when it fails, and a stop when it is aborted', async () => {
        const { text } = world.search ?? {};
        if (text === undefined || world.hub.searches?.local === true) return;
        fault('503');
        try {
          await refusalOf(search(text), 'NETWORK');
          fault('silent');
          const stop = new AbortController();
          const work = refusalOf(search(text, { signal: stop.signal }), 'INTERRUPTED');
          if (world.reached === undefined) expect.fail('The world has no reached');
          await world.reached();
          stop.abort();
          await work;
        } finally {
          fault('none');
        }
      });

      it('works again afterwards', async () => {
        const { files } = await resolve(parse(world.model.text));
        expect(files.length).toBe(world.model.paths.length);
      });
    });
  });
}

function withoutQuery(reference: Reference): Reference {
  const { query, ...identity } = reference;
  return query === undefined ? reference : identity;
}

async function readAddress(file: RemoteFile, context: TestHubContext): Promise<Buffer> {
  if (file.url.startsWith('file:')) return readFile(fileURLToPath(file.url));
  if (file.url.startsWith('data:')) return Buffer.from(await (await fetch(file.url)).arrayBuffer());
  const address = file.query === undefined ? file.url : `${file.url}?${file.query}`;
  const response = await context.fetch(address);
  expect(response.status, file.url).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

/** Lower-case hex of a digest; `git-sha1` is the id of a git blob. */
export function digestOf(bytes: Uint8Array, algorithm: Digest['algorithm']): string {
  const hash: Hash =
    algorithm === 'git-sha1' ? createHash('sha1').update(`blob ${bytes.length}\0`) : createHash(algorithm);
  return hash.update(bytes).digest('hex');
}
