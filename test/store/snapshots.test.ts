import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readRef, readSnapshot, saveRef, saveSnapshot } from '../../src/store/snapshots.js';
import { COMMIT, temporaryStore, type TestStore } from '../helpers/store.js';

const snapshot = {
  hub: 'hf',
  id: 'org/name',
  revision: COMMIT,
  files: [{ path: 'config.json', size: 2, url: 'https://example.org/config.json' }],
  metadata: { license: 'apache-2.0' },
};

async function spoil(store: TestStore, area: string): Promise<void> {
  const entries = await readdir(join(store.root, area), { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((candidate) => candidate.isFile()))
    await writeFile(join(entry.parentPath, entry.name), '\0\0\0');
}

describe('snapshots', () => {
  it('are found by hub, id and whole revision, and by nothing less', async () => {
    const store = await temporaryStore();
    await saveSnapshot(store, snapshot);
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toEqual(snapshot);
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT.slice(0, 12))).toBeUndefined();
    expect(await readSnapshot(store, 'hf', 'org/other', COMMIT)).toBeUndefined();
  });

  it('that are damaged are set aside and can be saved again', async () => {
    const store = await temporaryStore();
    await saveSnapshot(store, snapshot);
    await spoil(store, 'snapshots');
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toBeUndefined();
    expect(store.events).toHaveLength(1);
    await saveSnapshot(store, snapshot);
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toEqual(snapshot);
  });
});

describe('a snapshot of a copied cache', () => {
  const file = { path: 'a', size: 2, url: 'https://example.org/a' };

  it.each([
    [
      'a digest that leads out',
      { files: [{ ...file, digest: { algorithm: 'sha256', hex: '../../../victim' } }] },
    ],
    ['a digest that is too short', { files: [{ ...file, digest: { algorithm: 'sha1', hex: 'ab' } }] }],
    ['a path that leads out', { files: [{ ...file, path: '../a' }] }],
    ['a size that is none', { files: [{ ...file, size: -1 }] }],
    ['a member that leads out', { members: [{ path: '../a', bytes: 1, archive: 'a' }] }],
  ])('is damaged when it names %s', async (_what, change) => {
    const store = await temporaryStore();
    await saveSnapshot(store, snapshot);
    const [name = ''] = await readdir(join(store.root, 'snapshots/hf/org--name'));
    const path = join(store.root, 'snapshots/hf/org--name', name);
    await writeFile(path, JSON.stringify({ ...snapshot, ...change }));
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toBeUndefined();
    expect(store.events.map(({ type }) => type)).toEqual(['warning']);
  });

  it('is not taken for that of another hub', async () => {
    const store = await temporaryStore();
    await saveSnapshot(store, snapshot);
    await rename(join(store.root, 'snapshots/hf'), join(store.root, 'snapshots/npm'));
    expect(await readSnapshot(store, 'npm', 'org/name', COMMIT)).toBeUndefined();
  });

  it('with a name that no tree can hold is not kept', async () => {
    const store = await temporaryStore();
    await saveSnapshot(store, { ...snapshot, files: [{ ...file, path: 'a\\b' }] });
    expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toBeUndefined();
    expect(store.events).toEqual([]);
  });
});

describe('a directory in the place of a document', () => {
  it('is set aside when the document is saved, whether it was read before or not', async () => {
    const store = await temporaryStore();
    await saveSnapshot(store, snapshot);
    const [name = ''] = await readdir(join(store.root, 'snapshots/hf/org--name'));
    const path = join(store.root, 'snapshots/hf/org--name', name);
    for (const reads of [true, false]) {
      await rm(path);
      await mkdir(join(path, 'sub'), { recursive: true });
      if (reads) expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toBeUndefined();
      await saveSnapshot(store, snapshot);
      expect(await readSnapshot(store, 'hf', 'org/name', COMMIT)).toEqual(snapshot);
    }
    expect(store.events.map(({ type }) => type)).toEqual(['warning', 'warning']);
  });
});

describe('refs', () => {
  const to = { id: 'org/name', revision: COMMIT, resolvedAt: '2026-01-01T00:00:00.000Z' };

  it('remember what a floating reference meant last', async () => {
    const store = await temporaryStore();
    await saveRef(store, 'hf:org/name@main', to);
    await saveRef(store, 'hf:org/name@main', { ...to, revision: 'v2' });
    expect(await readRef(store, 'hf:org/name@main')).toMatchObject({ revision: 'v2' });
    expect(await readRef(store, 'hf:org/name@dev')).toBeUndefined();
  });

  it('that are damaged are set aside and can be saved again', async () => {
    const store = await temporaryStore();
    await saveRef(store, 'hf:org/name@main', to);
    await spoil(store, 'refs');
    expect(await readRef(store, 'hf:org/name@main')).toBeUndefined();
    await saveRef(store, 'hf:org/name@main', to);
    expect(await readRef(store, 'hf:org/name@main')).toMatchObject(to);
  });
});
