import { chmod, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { blobPath, dropBlob, hasBlob, writeBlob } from '../../src/store/blobs.js';
import { inStore } from '../../src/store/layout.js';
import { afterReboot, putBlob, sha256Of, temporaryStore } from '../helpers/store.js';

const TEXT = 'weights';
const SHA256 = sha256Of(TEXT);

describe('what is no sha256', () => {
  it.each(['../../../victim', 'ab', 'A'.repeat(64), ''])('has no place here: %j', async (name) => {
    const store = await temporaryStore();
    expect(() => blobPath(store, name)).toThrow(expect.objectContaining({ code: 'INTEGRITY' }));
    await expect(hasBlob(store, name, 1)).rejects.toMatchObject({ code: 'INTEGRITY' });
    await expect(dropBlob(store, name)).rejects.toMatchObject({ code: 'INTEGRITY' });
  });
});

describe('a small file from memory', () => {
  it.each(['lazy', 'flush', 'trust'] as const)('becomes a blob as any other: %s', async (durability) => {
    const store = await temporaryStore(durability);
    await writeBlob(store, SHA256, Buffer.from(TEXT));
    const written = await stat(blobPath(store, SHA256));
    expect(written.mode & 0o777).toBe(0o444);
    expect(written.mtimeMs % 1000).toBe(0);
    expect(await readFile(blobPath(store, SHA256), 'utf8')).toBe(TEXT);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('may be empty', async () => {
    const store = await temporaryStore();
    await writeBlob(store, sha256Of(''), Buffer.alloc(0));
    expect(await readFile(blobPath(store, sha256Of('')), 'utf8')).toBe('');
  });

  it('leaves a blob alone that is there, whose links share its inode', async () => {
    const store = await temporaryStore();
    await putBlob(store, TEXT);
    const { ino } = await stat(blobPath(store, SHA256));
    await writeBlob(store, SHA256, Buffer.from(TEXT));
    expect((await stat(blobPath(store, SHA256))).ino).toBe(ino);
  });

  it.each([
    ['has another size', 'weigh', undefined],
    ['was written to', 'WEIGHTS', 1234.5],
  ])('replaces one that %s', async (_what, text, time) => {
    const store = await temporaryStore();
    await putBlob(store, TEXT);
    const path = blobPath(store, SHA256);
    await chmod(path, 0o644);
    await writeFile(path, text);
    if (time !== undefined) await utimes(path, time, time);
    store.verified.clear();
    await writeBlob(store, SHA256, Buffer.from(TEXT));
    expect(await readFile(path, 'utf8')).toBe(TEXT);
  });

  it('replaces one of an earlier boot, which may never have reached the disk', async () => {
    const store = await temporaryStore();
    await putBlob(store, TEXT);
    const { ino } = await stat(blobPath(store, SHA256));
    await writeBlob(afterReboot(store), SHA256, Buffer.from(TEXT));
    expect((await stat(blobPath(store, SHA256))).ino).not.toBe(ino);
  });

  it('replaces one of an earlier boot whose clock was ahead', async () => {
    const store = await temporaryStore();
    await putBlob(store, TEXT);
    const { ino } = await stat(blobPath(store, SHA256));
    const tomorrow = Math.floor(Date.now() / 1000) + 86_400;
    await utimes(blobPath(store, SHA256), tomorrow, tomorrow);
    await writeBlob({ ...store, verified: new Set() }, SHA256, Buffer.from(TEXT));
    expect((await stat(blobPath(store, SHA256))).ino).not.toBe(ino);
  });

  it('leaves nothing behind when it cannot be stored', async () => {
    const store = await temporaryStore();
    await writeFile(inStore(store, 'blobs/sha256', SHA256.slice(0, 2)), 'no directory');
    await expect(writeBlob(store, SHA256, Buffer.from(TEXT))).rejects.toThrow();
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });
});
