import { access, mkdir, open, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath, dropBlob } from '../../src/store/blobs.js';
import { claim } from '../../src/store/claim.js';
import { inStore } from '../../src/store/layout.js';
import { checkModel, publishModel, removeModel } from '../../src/store/models.js';
import { openSession, readSession, type Session } from '../../src/store/session.js';
import { BLOB_AGE_MS, planSweep, sweep, type SweepOptions } from '../../src/store/sweep.js';
import {
  clockTick,
  isStored,
  keyOf,
  loseRecord,
  putBlob,
  putModel,
  recordFiles,
  recordOf,
  sha256Of,
  temporaryStore,
  type TestStore,
} from '../helpers/store.js';

const NOW: SweepOptions = { minimumAgeMs: 0, partials: false };
const USUAL: SweepOptions = { minimumAgeMs: BLOB_AGE_MS, partials: false };
const FILES = { 'config.json': '{}', 'weights/model.bin': 'weights' };

/** Plans and carries out; everything before it is older than the file system's clock tells. */
async function sweepNow(store: TestStore, options: SweepOptions = NOW): Promise<number> {
  await clockTick(store);
  return sweep(store, await planSweep(store, options));
}

async function session(store: TestStore): Promise<Session> {
  const opened = await openSession(store);
  onTestFinished(() => opened.close());
  return opened;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function putPartial(store: TestStore, name: string, bytes = 1024 * 1024): Promise<string> {
  const directory = inStore(store, 'partials', name);
  await mkdir(directory);
  const file = await open(join(directory, 'data.0'), 'w');
  await file.write(Buffer.alloc(4096, 1), 0, 4096, 0);
  await file.truncate(bytes);
  await file.close();
  return directory;
}

/** A session of another machine whose counter last moved this long ago. */
async function foreignSession(store: TestStore, agoMs: number, wants: readonly string[]): Promise<void> {
  const path = (kind: string): string => inStore(store, 'sessions', `f0f0f0f0f0f0f0f0.${kind}`);
  const identity = { host: 'elsewhere', bootId: 'other', pidNamespace: 'none', pid: 1, startTime: '1' };
  await writeFile(path('json'), JSON.stringify(identity));
  await writeFile(path('beat'), '1');
  await writeFile(path('wants'), wants.map((sha256) => `${sha256}\n`).join(''));
  const time = new Date(Date.now() - agoMs);
  for (const kind of ['json', 'beat']) await utimes(path(kind), time, time);
}

describe('removal is two steps (promise 6)', () => {
  it('what no record names goes, what one names stays', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const lost = await putBlob(store, 'nobody wants this');
    expect(await sweepNow(store)).toBe('nobody wants this'.length);
    expect(await isStored(store, lost)).toBe(false);
    expect(await isStored(store, sha256Of('weights'))).toBe(true);
    expect(await checkModel(store, model, true)).toEqual({ damaged: [], missing: [] });
    expect(await readdir(inStore(store, 'trash'))).toEqual([]);
    expect(await readdir(inStore(store, 'sessions'))).toEqual([]);
  });

  it('a young blob stays, since its pull may go on', async () => {
    const store = await temporaryStore();
    const young = await putBlob(store, 'young');
    expect(await sweepNow(store, USUAL)).toBe(0);
    expect(await isStored(store, young)).toBe(true);
  });

  it('blobs of a removed model go however young, and only those that no other model has', async () => {
    const store = await temporaryStore();
    const doomed = await putModel(store, { 'a.bin': 'shared', 'b.bin': 'alone' });
    await putModel(store, { 'a.bin': 'shared' }, keyOf('org/other'));
    await removeModel(store, doomed);
    expect(await sweepNow(store, USUAL)).toBe('alone'.length);
    expect(await isStored(store, sha256Of('alone'))).toBe(false);
    expect(await isStored(store, sha256Of('shared'))).toBe(true);
    expect(await readdir(inStore(store, 'removed'))).toEqual([]);
  });

  it('blobs of a removed model stay that a living command fetched anew, named or not', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, { 'a.bin': 'fetched anew', 'b.bin': 'left over' });
    await removeModel(store, model);
    await dropBlob(store, sha256Of('fetched anew'));
    await clockTick(store);
    await session(store);
    await clockTick(store);
    await putBlob(store, 'fetched anew');
    await sweepNow(store, USUAL);
    expect(await isStored(store, sha256Of('fetched anew'))).toBe(true);
    expect(await isStored(store, sha256Of('left over'))).toBe(false);
  });

  it('blobs of a model that is removed this very instant go when nobody lives', async () => {
    const store = await temporaryStore();
    const plans = [];
    // Without waiting for the clock: a removal and its sweep may fall on one tick.
    for (const text of ['one', 'two', 'three', 'four']) {
      await removeModel(store, await putModel(store, { 'a.bin': text }));
      plans.push((await planSweep(store, USUAL)).blobs.length);
    }
    expect(plans).toEqual([1, 2, 3, 4]);
  });

  it('a damaged note of a removal is no obstacle', async () => {
    const store = await temporaryStore();
    await removeModel(store, await putModel(store, FILES));
    const [note = ''] = await readdir(inStore(store, 'removed'));
    await writeFile(inStore(store, 'removed', note), '\0');
    await sweepNow(store, USUAL);
    expect(await isStored(store, sha256Of('weights'))).toBe(true);
  });

  it('what a living command wants stays', async () => {
    const store = await temporaryStore();
    const wanted = await putBlob(store, 'wanted');
    const other = await putBlob(store, 'other');
    await clockTick(store);
    await (await session(store)).want([wanted]);
    await sweepNow(store);
    expect([await isStored(store, wanted), await isStored(store, other)]).toEqual([true, false]);
  });

  it('what a living command has made stays, named or not', async () => {
    const store = await temporaryStore();
    await session(store);
    await clockTick(store);
    const blob = await putBlob(store, 'just fetched');
    const staging = inStore(store, 'tmp', 'staging');
    await mkdir(staging);
    const tree = inStore(store, 'models', 'hf', 'org--name', 'unrecorded');
    await mkdir(tree, { recursive: true });
    const partial = await putPartial(store, 'going-on');
    await sweepNow(store, { minimumAgeMs: 0, partials: true });
    expect(await Promise.all([blobPath(store, blob), staging, tree, partial].map(exists))).toEqual(
      Array(4).fill(true),
    );
  });

  it('what became wanted after the plan is put back', async () => {
    const store = await temporaryStore();
    const blob = await putBlob(store, 'wanted late');
    await clockTick(store);
    const plan = await planSweep(store, NOW);
    expect(plan.blobs).toHaveLength(1);
    await (await session(store)).want([blob]);
    expect(await sweep(store, plan)).toBe(0);
    expect(await isStored(store, blob)).toBe(true);
    expect(await readdir(inStore(store, 'trash'))).toEqual([]);
  });

  it('what a model took up after the plan is put back', async () => {
    const store = await temporaryStore();
    for (const text of Object.values(FILES)) await putBlob(store, text);
    await clockTick(store);
    const plan = await planSweep(store, NOW);
    expect(plan.blobs).toHaveLength(2);
    await publishModel(store, keyOf(), recordOf(keyOf(), FILES));
    expect(await sweep(store, plan)).toBe(0);
    expect(await isStored(store, sha256Of('weights'))).toBe(true);
  });

  it('a tree that got its record after the plan stays', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const [record, copy] = recordFiles(store, model);
    await rm(copy);
    await rename(record, `${record}.aside`);
    await clockTick(store);
    const plan = await planSweep(store, USUAL);
    expect(plan.leftovers.map((item) => item.path)).toEqual([model.directory]);
    await rename(`${record}.aside`, record);
    const { ctimeMs } = await stat(model.directory);
    await sweep(store, plan);
    // Not even for a moment was it elsewhere: somebody may be reading it.
    expect((await stat(model.directory)).ctimeMs).toBe(ctimeMs);
    expect(await checkModel(store, model, true)).toEqual({ damaged: [], missing: [] });
  });

  it('everything is put back when it fails midway', async () => {
    const store = await temporaryStore();
    const blob = await putBlob(store, 'nobody wants this');
    await clockTick(store);
    const plan = await planSweep(store, NOW);
    // A directory cannot be moved into itself.
    const impossible = { path: store.root, bytes: 0 };
    const failing = sweep(store, { ...plan, leftovers: [impossible] });
    await expect(failing).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await isStored(store, blob)).toBe(true);
  });

  it('leftovers of processes that died go, and count their bytes once', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await loseRecord(store, model);
    await mkdir(inStore(store, 'tmp', 'staging'));
    await writeFile(inStore(store, 'tmp', 'staging', 'file'), 'half');
    await mkdir(inStore(store, 'trash', 'old'));
    await writeFile(inStore(store, 'trash', 'old', 'file'), 'gone');
    await clockTick(store);
    const plan = await planSweep(store, NOW);
    const planned = [...plan.blobs, ...plan.leftovers].reduce((sum, item) => sum + item.bytes, 0);
    // Trees that are reflinks or copies give their own bytes back as well.
    const tree = (await stat(join(model.directory, 'config.json'))).nlink === 1 ? 9 : 0;
    expect(planned).toBe(2 + 7 + 4 + 4 + tree);
    expect(await sweep(store, plan)).toBe(planned);
    expect(await exists(model.directory)).toBe(false);
    expect([...(await readdir(inStore(store, 'tmp'))), ...(await readdir(inStore(store, 'trash')))]).toEqual(
      [],
    );
  });

  it('the grave of another living sweep is left alone', async () => {
    const store = await temporaryStore();
    const { id } = await session(store);
    const grave = inStore(store, 'trash', id);
    await mkdir(grave);
    await clockTick(store);
    expect((await planSweep(store, NOW)).leftovers).toEqual([]);
    expect(await exists(grave)).toBe(true);
  });

  it('a document that a command without a session is writing stays', async () => {
    const store = await temporaryStore();
    await writeFile(inStore(store, 'tmp', 'abc.json'), '{}');
    await clockTick(store);
    expect((await planSweep(store, NOW)).leftovers).toEqual([]);
  });

  it.each([
    ['of another machine that beat lately', 60_000, true],
    ['of another machine that fell silent', 2 * BLOB_AGE_MS, false],
  ])('a session %s', async (_what, agoMs, kept) => {
    const store = await temporaryStore();
    const wanted = await putBlob(store, 'wanted');
    await foreignSession(store, agoMs, [wanted]);
    await sweepNow(store);
    expect(await isStored(store, wanted)).toBe(kept);
    expect((await readdir(inStore(store, 'sessions'))).length).toBe(kept ? 3 : 0);
  });

  it('the session of a process that is gone holds nothing', async () => {
    const store = await temporaryStore();
    const blob = await putBlob(store, 'wanted by the dead');
    const dead = await session(store);
    await dead.want([blob]);
    await writeFile(
      inStore(store, 'sessions', `${dead.id}.json`),
      JSON.stringify({ ...(await identityOf(store, dead.id)), pid: 4_000_000 }),
    );
    await sweepNow(store);
    expect(await isStored(store, blob)).toBe(false);
  });

  it('claims of commands that ended go, those of living ones stay', async () => {
    const store = await temporaryStore();
    const options = { maxWaitMs: 0, signal: new AbortController().signal };
    const living = await claim(store, await session(store), 'of the living', options);
    const dead = await openSession(store);
    for (const name of ['a model', 'a file']) await claim(store, dead, name, options);
    await dead.close();
    // As of one that died between the two steps of letting go.
    await mkdir(inStore(store, 'claims', 'empty'));
    await sweepNow(store);
    expect(await readdir(inStore(store, 'claims'))).toHaveLength(1);
    await living.assertHeld();
  });

  it('partials go only when asked, and count what they take on disk', async () => {
    const store = await temporaryStore();
    const directory = await putPartial(store, 'unfinished', 1024 ** 3);
    await clockTick(store);
    expect((await planSweep(store, NOW)).partials).toEqual([]);
    const freed = await sweepNow(store, { minimumAgeMs: BLOB_AGE_MS, partials: true });
    expect(await exists(directory)).toBe(false);
    expect(freed).toBeGreaterThan(0);
    expect(freed).toBeLessThan(1024 ** 2);
  });

  it('a partial whose download began after the plan stays', async () => {
    const store = await temporaryStore();
    const directory = await putPartial(store, 'unfinished');
    await clockTick(store);
    const plan = await planSweep(store, { minimumAgeMs: 0, partials: true });
    expect(plan.partials).toHaveLength(1);
    await session(store);
    await clockTick(store);
    await writeFile(join(directory, 'journal.json'), '{}');
    await sweep(store, plan);
    expect(await exists(directory)).toBe(true);
  });

  it('planning changes nothing, and needs no cache', async () => {
    const store = await temporaryStore();
    const blob = await putBlob(store, 'nobody wants this');
    await clockTick(store);
    const readOnly = { ...store, writable: false };
    expect((await planSweep(readOnly, NOW)).blobs.map((item) => item.path)).toEqual([blobPath(store, blob)]);
    expect(await isStored(store, blob)).toBe(true);
    await expect(sweep(readOnly, { blobs: [], partials: [], leftovers: [] })).rejects.toMatchObject({
      code: 'DISK',
    });
    await rm(dirname(store.root), { recursive: true });
    expect(await planSweep(readOnly, NOW)).toEqual({ blobs: [], partials: [], leftovers: [] });
  });
});

async function identityOf(store: TestStore, id: string): Promise<object> {
  return (await readSession(store, id))?.identity ?? {};
}
