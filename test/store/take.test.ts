import { chmod, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { blobPath } from '../../src/store/blobs.js';
import { hashFile } from '../../src/store/hash.js';
import { inStore } from '../../src/store/layout.js';
import { canShare, takeFile, type TakeOptions } from '../../src/store/take.js';
import { isStored, sha256Of, temporaryDirectory, temporaryStore } from '../helpers/store.js';

vi.mock('../../src/store/hash.js', { spy: true });

const TEXT = 'weights';
const options: TakeOptions = {
  signal: new AbortController().signal,
  beforeKept: () => Promise.resolve(),
};

async function fileElsewhere(mode = 0o644): Promise<string> {
  const path = join(await temporaryDirectory(), 'blob');
  await writeFile(path, TEXT);
  await chmod(path, mode);
  await utimes(path, 1000.5, 1000.5);
  return path;
}

describe('a file of another tool', () => {
  it('becomes a blob, read-only and with a time in whole seconds', async () => {
    const store = await temporaryStore();
    const source = await fileElsewhere();
    const taken = await takeFile(store, source, { sha256: sha256Of(TEXT), bytes: 7 }, options);
    expect(taken).toMatchObject({ bytes: 7 });
    const blob = await stat(blobPath(store, sha256Of(TEXT)));
    expect(blob.mode & 0o777).toBe(0o444);
    expect(blob.mtimeMs % 1000).toBe(0);
    expect(await readFile(source, 'utf8')).toBe(TEXT);
  });

  it('is copied where fewer may read it, and keeps its permissions', async () => {
    const store = await temporaryStore();
    const source = await fileElsewhere(0o640);
    const taken = await takeFile(store, source, { sha256: sha256Of(TEXT) }, options);
    const blob = await stat(blobPath(store, sha256Of(TEXT)));
    expect(blob.mode & 0o777).toBe(0o444);
    const theirs = await stat(source);
    expect(theirs.mode & 0o777).toBe(0o640);
    expect(theirs.mtimeMs).toBe(1_000_500);
    expect(taken).toMatchObject({ mode: (await canShare(store, source)) ? 'reflink' : 'copy' });
  });

  it.each([
    ['other bytes', { sha256: sha256Of('other'), bytes: 7 }],
    ['another size', { sha256: sha256Of(TEXT), bytes: 8 }],
  ])('with %s is no blob and is left alone', async (_what, promised) => {
    const store = await temporaryStore();
    const source = await fileElsewhere();
    expect(await takeFile(store, source, promised, options)).toBe('wrong');
    expect(await isStored(store, promised.sha256)).toBe(false);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
    const theirs = await stat(source);
    expect(theirs.mode & 0o777).toBe(0o644);
    expect(theirs.mtimeMs).toBe(1_000_500);
  });

  it.each([0o644, 0o640])('is wanted before it is a blob (mode %o)', async (mode) => {
    const store = await temporaryStore();
    const source = await fileElsewhere(mode);
    const sha256 = sha256Of(TEXT);
    const beforeKept = async (): Promise<void> => {
      expect(await isStored(store, sha256)).toBe(false);
      throw new Error('told');
    };
    await expect(takeFile(store, source, { sha256 }, { ...options, beforeKept })).rejects.toThrow('told');
    expect(await isStored(store, sha256)).toBe(false);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it.each([0o644, 0o640])('is read only until the command is interrupted (mode %o)', async (mode) => {
    const store = await temporaryStore();
    const source = await fileElsewhere(mode);
    const signal = AbortSignal.abort();
    const taking = takeFile(store, source, { sha256: sha256Of(TEXT) }, { ...options, signal });
    await expect(taking).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('is no blob with other bytes, when it is written to meanwhile', async () => {
    const store = await temporaryStore();
    const source = await fileElsewhere();
    const sha256 = sha256Of(TEXT);
    const beforeKept = (): Promise<void> => writeFile(source, 'WEIGHTS');
    await takeFile(store, source, { sha256 }, { ...options, beforeKept });
    // Where no inode is shared, it has what was hashed.
    const stored = await readFile(blobPath(store, sha256), 'utf8').catch(() => undefined);
    expect([undefined, TEXT]).toContain(stored);
  });

  it('that is gone, or no file, is none', async () => {
    const store = await temporaryStore();
    const directory = await temporaryDirectory();
    for (const path of [directory, join(directory, 'gone')])
      expect(await takeFile(store, path, { sha256: sha256Of(TEXT) }, options)).toBeUndefined();
  });

  it('that cannot be read after it was linked is none', async () => {
    const store = await temporaryStore();
    const source = await fileElsewhere();
    const error = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
    vi.mocked(hashFile).mockRejectedValueOnce(error);
    expect(await takeFile(store, source, { sha256: sha256Of(TEXT) }, options)).toBeUndefined();
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('is tried for sharing without a trace', async () => {
    const store = await temporaryStore();
    const source = await fileElsewhere();
    expect(await canShare(store, source)).toBe(true);
    expect(await stat(source)).toMatchObject({ nlink: 1 });
    expect(await canShare(store, join(store.root, 'gone'))).toBe(false);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });
});
