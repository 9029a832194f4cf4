/**
 * Documents of the store and of the user, broken at random: what can be read is used, what cannot is set aside or
 * refused, nothing crashes, and nothing that is accepted names a place outside.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { ModeldlError } from '../../src/errors.js';
import { choose, knownListing } from '../../src/listing.js';
import { readCatalogue } from '../../src/store/catalogue.js';
import { claim } from '../../src/store/claim.js';
import { inStore } from '../../src/store/layout.js';
import { checkModel, findModel, listModels } from '../../src/store/models.js';
import { openSession, listSessions, readWants } from '../../src/store/session.js';
import { readRef, readSnapshot, saveRef, saveSnapshot } from '../../src/store/snapshots.js';
import { planSweep } from '../../src/store/sweep.js';
import {
  COMMIT,
  keyOf,
  putConversion,
  putModel,
  temporaryDirectory,
  temporaryStore,
  type TestStore,
} from '../helpers/store.js';
import { runs, SEED } from '../helpers/stress.js';

const FILES = { 'config.json': '{}', 'part/weights.bin': 'weights' };
const AGED = { minimumAgeMs: 0, partials: true };

/** A refusal with a code is an answer; anything else is a crash. */
async function answered<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ModeldlError && error.code !== 'INTERNAL') return undefined;
    throw error;
  }
}

const odd = fc.oneof(
  fc.constantFrom<unknown>('', '..', '../../x', '/etc/passwd', '\0', 'a\\b', 'f'.repeat(64), 'F'.repeat(64)),
  fc.constantFrom<unknown>(0, -1, 1.5, 1e308, Number.MAX_SAFE_INTEGER, 2, null, true, [], {}, [[]]),
  fc.jsonValue(),
);

/** Changes one value somewhere in a document, or takes it out, or adds one. */
const damage = fc
  .tuple(fc.infiniteStream(fc.nat(1000)), fc.constantFrom('replace', 'remove', 'add'), odd)
  .map(([turns, how, value]) => (document: unknown): string => {
    const copy: unknown = JSON.parse(JSON.stringify(document));
    const root = { copy };
    let holder: object = root;
    let key = 'copy';
    for (let depth = 0; depth < 6; depth += 1) {
      const inner: unknown = Reflect.get(holder, key);
      if (typeof inner !== 'object' || inner === null) break;
      const keys = Object.keys(inner);
      const next = keys[(turns.next().value ?? 0) % (keys.length + 1)];
      if (next === undefined) break;
      holder = inner;
      key = next;
    }
    if (how === 'remove') Reflect.deleteProperty(holder, key);
    else if (how === 'replace') Reflect.set(holder, key, value);
    else {
      const inner: unknown = Reflect.get(holder, key);
      if (Array.isArray(inner)) inner.push(value);
      else Reflect.set(holder, '__proto__x', value);
    }
    return root.copy === undefined ? '' : JSON.stringify(root.copy);
  });

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 64 }).map((array) => Buffer.from(array)),
  fc.string().map((text) => Buffer.from(text)),
  fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))),
);

/** A damaged document, or any bytes in its place. */
function broken(document: unknown): fc.Arbitrary<Buffer> {
  return fc.oneof(
    { weight: 3, arbitrary: damage.map((apply) => Buffer.from(apply(document))) },
    { weight: 1, arbitrary: bytes },
  );
}

function isInside(path: string): boolean {
  return !isAbsolute(path) && normalize(path) === path && !path.startsWith('..') && !path.includes('\0');
}

let store: TestStore;
beforeEach(async () => {
  store = await temporaryStore();
});

async function put(path: string, content: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

describe('records', () => {
  it('are a model inside, or none', async () => {
    const model = await putModel(store, FILES);
    const conversion = await putConversion(store, model, { precision: 'int8' });
    const file = inStore(store, 'records', ...`${conversion.path}.json`.split('/'));
    await fc.assert(
      fc.asyncProperty(broken(conversion.record), async (content) => {
        await put(file, content);
        const models = (await answered(listModels(store))) ?? [];
        for (const { record, directory } of models) {
          expect(directory.startsWith(inStore(store, 'models'))).toBe(true);
          for (const entry of record.files) {
            expect(isInside(entry.path)).toBe(true);
            expect(entry.sha256).toMatch(/^[0-9a-f]{64}$/);
          }
          if (record.single !== undefined) expect(isInside(record.single)).toBe(true);
        }
        const listed = await answered(readCatalogue(store, { worthWriting: 1, stepMs: -60_000 }));
        expect(listed?.models.map(({ path }) => path)).toContain(model.path);
        for (const found of models) {
          const check = await answered(checkModel(store, found, false));
          // The tree is as it was: what the record says otherwise of it must show.
          const names = [...found.record.files.map(({ path }) => path)].sort();
          const sound = check !== undefined && check.damaged.length + check.missing.length === 0;
          if (sound && found.path === conversion.path && names.length > 0)
            expect(names).toEqual(conversion.record.files.map(({ path }) => path));
        }
        await answered(
          findModel(store, {
            ...keyOf(),
            conversion: { precision: 'int8', device: 'CPU', key: 'f'.repeat(64) },
          }),
        );
      }),
      { numRuns: runs(150, 1500), seed: SEED },
    );
  });

  it('of removed models make a sweep take nothing that is wanted', async () => {
    const model = await putModel(store, FILES);
    const blobs = async (): Promise<readonly string[]> =>
      (await readdir(inStore(store, 'blobs/sha256'), { recursive: true })).sort();
    const before = await blobs();
    await fc.assert(
      fc.asyncProperty(broken(model.record), async (content) => {
        await put(inStore(store, 'removed', 'record.json'), content);
        const plan = await answered(planSweep(store, AGED));
        expect(plan?.blobs ?? []).toEqual([]);
        expect(await blobs()).toEqual(before);
      }),
      { numRuns: runs(100, 1000), seed: SEED },
    );
  });
});

describe('snapshots and refs', () => {
  it('are a listing, or none', async () => {
    const { record } = await putModel(store, FILES);
    const snapshot = {
      hub: 'hf',
      id: record.id,
      revision: record.revision,
      files: record.files.map(({ path, bytes: size, sha256 }) => ({
        path,
        size,
        digest: { algorithm: 'sha256' as const, hex: sha256 },
        url: `https://host/${path}`,
      })),
      metadata: { license: 'mit' },
    };
    await saveSnapshot(store, snapshot);
    const [name] = (await readdir(inStore(store, 'snapshots'), { recursive: true })).filter((entry) =>
      entry.endsWith('.json'),
    );
    const file = inStore(store, 'snapshots', name ?? '');
    await fc.assert(
      fc.asyncProperty(broken(snapshot), async (content) => {
        await put(file, content);
        const read = await answered(readSnapshot(store, 'hf', record.id, COMMIT));
        if (read === undefined) return;
        expect([read.id, read.revision]).toEqual([record.id, COMMIT]);
        const listing = knownListing(read) ?? [];
        const selection = await answered(
          Promise.resolve().then(() => choose(listing, { hub: 'hf', id: record.id }, {})),
        );
        for (const { path } of selection?.chosen ?? []) expect(isInside(path)).toBe(true);
      }),
      { numRuns: runs(200, 3000), seed: SEED },
    );
  });

  it('of refs are what was asked for, or nothing', async () => {
    const ref = { id: 'org/name', revision: COMMIT, resolvedAt: '2026-01-01T00:00:00.000Z' };
    await saveRef(store, 'hf:org/name', ref);
    const [name = ''] = (await readdir(inStore(store, 'refs'))).filter((entry) => entry.endsWith('.json'));
    await fc.assert(
      fc.asyncProperty(broken({ reference: 'hf:org/name', ...ref }), async (content) => {
        await put(inStore(store, 'refs', name), content);
        const read = await answered(readRef(store, 'hf:org/name'));
        if (read === undefined) return;
        expect(read.reference).toBe('hf:org/name');
        for (const value of Object.values(read)) expect(typeof value).toBe('string');
      }),
      { numRuns: runs(200, 3000), seed: SEED },
    );
  });
});

describe('sessions and claims', () => {
  it('of any content neither crash a command nor let a sweep take what a model holds', async () => {
    await putModel(store, FILES);
    const identity = {
      host: 'host',
      bootId: store.bootId,
      pidNamespace: 'pid:[1]',
      pid: 2 ** 22,
      startTime: '1',
    };
    const content = fc.tuple(
      broken(identity),
      bytes,
      bytes,
      fc.constantFrom('0a', '..', 'x.y', '__proto__', '-'),
    );
    await fc.assert(
      fc.asyncProperty(content, async ([json, beat, wants, id]) => {
        await put(inStore(store, 'sessions', `${id}.json`), json);
        await put(inStore(store, 'sessions', `${id}.beat`), beat);
        await put(inStore(store, 'sessions', `${id}.wants`), wants);
        for (const session of await listSessions(store)) await readWants(store, session.id);
        expect((await planSweep(store, AGED)).blobs).toEqual([]);
        await rm(inStore(store, 'sessions'), { recursive: true });
        await mkdir(inStore(store, 'sessions'));
      }),
      { numRuns: runs(100, 1000), seed: SEED },
    );
  });

  it('of an owner without a session are taken over at once, whatever it is called', async () => {
    const session = await openSession(store);
    try {
      const owner = fc.stringMatching(/^[0-9a-f.%~ -]{1,40}$/).filter((name) => !/^\.{1,2}$/.test(name));
      await fc.assert(
        fc.asyncProperty(owner, async (name) => {
          const waiting = { maxWaitMs: 0, signal: new AbortController().signal };
          const held = await claim(store, session, 'bytes', waiting);
          await held.release();
          const other = await claim(store, session, 'bytes', waiting);
          const [directory = ''] = await readdir(inStore(store, 'claims'));
          const place = inStore(store, 'claims', directory);
          for (const token of await readdir(place)) await rm(join(place, token));
          await put(join(place, name), Buffer.alloc(0));
          await answered(other.assertHeld());
          await (await claim(store, session, 'bytes', waiting)).release();
        }),
        { numRuns: runs(50, 500), seed: SEED },
      );
    } finally {
      await session.close();
    }
  });
});

describe('configuration files', () => {
  const valid = {
    cacheDir: '/cache',
    jobs: 4,
    offline: false,
    limitRate: '20M',
    proxy: { http: 'http://p:1' },
  };

  it.each([
    '.config/modeldl/config.json',
    'work/modeldl.config.json',
    'work/modeldl.config.yaml',
    'work/package.json',
  ])('%s are read or refused', async (path) => {
    const home = await temporaryDirectory();
    await mkdir(join(home, 'work'));
    await fc.assert(
      fc.asyncProperty(fc.oneof(broken(valid), broken({ modeldl: valid })), async (content) => {
        await put(join(home, path), content);
        const loaded = await answered(
          loadConfig({
            cwd: join(home, 'work'),
            home,
            configDir: join(home, '.config', 'modeldl'),
            cacheDir: '/default',
            environment: {},
            hubs: [],
          }),
        );
        if (loaded === undefined) return;
        expect(typeof loaded.config.cacheDir).toBe('string');
        if (loaded.config.jobs !== undefined) expect(Number.isInteger(loaded.config.jobs)).toBe(true);
      }),
      { numRuns: runs(100, 1000), seed: SEED },
    );
  });
});
