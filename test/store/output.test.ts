import { chmod, mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { checkModel, type StoredModel } from '../../src/store/models.js';
import { checkOutput, writeOutput } from '../../src/store/output.js';
import { requirePeer } from '../helpers/require.js';
import {
  keyOf,
  putModel,
  sha256Of,
  temporaryDirectory,
  temporaryStore,
  type TestStore,
} from '../helpers/store.js';

const FILES = { 'config.json': '{}', 'weights/model.bin': 'weights' };
const COPY = { link: false, overwrite: false };
const LINK = { link: true, overwrite: false };

async function world(files: Readonly<Record<string, string>> = FILES): Promise<{
  store: TestStore;
  model: StoredModel;
  output: string;
}> {
  const store = await temporaryStore();
  return { store, model: await putModel(store, files), output: join(await temporaryDirectory(), 'out') };
}

/** Paths below a directory with their texts; the manifest left out. */
async function contents(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(
    files.map(async (file) => [file.slice(directory.length + 1), await readFile(file, 'utf8')] as const),
  );
  return Object.fromEntries(texts.filter(([path]) => path !== '.modeldl.json'));
}

describe('an output', () => {
  it('is independent of the store and writable', async () => {
    const { store, model, output } = await world();
    await writeOutput(model, output, COPY);
    expect(await contents(output)).toEqual(FILES);
    await writeFile(join(output, 'config.json'), '[]');
    expect(await checkModel(store, model, true)).toEqual({ damaged: [], missing: [] });
    const { ino, mode, nlink } = await stat(join(output, 'weights/model.bin'));
    expect([nlink, mode & 0o200]).toEqual([1, 0o200]);
    expect(ino).not.toBe((await stat(join(model.directory, 'weights/model.bin'))).ino);
  });

  it('of a model with a file of the name that the list of files has is refused, before anything is there', async () => {
    const { model, output } = await world({ ...FILES, '.modeldl.json': '{}' });
    await expect(writeOutput(model, output, COPY)).rejects.toMatchObject({
      code: 'USAGE',
      details: { file: '.modeldl.json' },
    });
    await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('is read-only hard links when asked', async () => {
    const { model, output } = await world();
    await writeOutput(model, output, LINK);
    const { ino, mode } = await stat(join(output, 'weights/model.bin'));
    expect(ino).toBe((await stat(join(model.directory, 'weights/model.bin'))).ino);
    expect(mode & 0o222).toBe(0);
  });

  it('of links becomes independent, and the other way round', async () => {
    const { store, model, output } = await world();
    await writeOutput(model, output, LINK);
    await writeOutput(model, output, COPY);
    await writeFile(join(output, 'config.json'), '[]');
    expect(await checkModel(store, model, true)).toEqual({ damaged: [], missing: [] });
    await writeOutput(model, output, LINK);
    for (const path of Object.keys(FILES)) {
      expect((await stat(join(output, path))).ino).toBe((await stat(join(model.directory, path))).ino);
    }
  });

  const otherFileSystem = ((): boolean => {
    try {
      return statSync('/dev/shm').dev !== statSync(tmpdir()).dev;
    } catch {
      return false;
    }
  })();
  requirePeer('a second file system at /dev/shm', otherFileSystem)(
    'of links needs the file system of the cache, and says so',
    async () => {
      const { model } = await world();
      const output = await temporaryDirectory('/dev/shm');
      await expect(writeOutput(model, output, LINK)).rejects.toMatchObject({
        code: 'DISK',
        hint: expect.stringContaining('--link') as string,
      });
      expect(await contents(output)).toEqual({});
      await writeOutput(model, output, COPY);
      expect(await contents(output)).toEqual(FILES);
    },
  );

  it('that is right already is left alone', async () => {
    const { model, output } = await world();
    await writeOutput(model, output, COPY);
    const before = await stat(join(output, 'weights/model.bin'));
    await utimes(join(output, 'weights/model.bin'), 1, 1);
    await writeOutput(model, output, COPY);
    const after = await stat(join(output, 'weights/model.bin'));
    expect([after.ino, after.mtimeMs]).toEqual([before.ino, 1000]);
  });

  it('that was damaged is made right', async () => {
    const { model, output } = await world();
    await writeOutput(model, output, COPY);
    await writeFile(join(output, 'weights/model.bin'), 'WEIGHTS');
    await writeOutput(model, output, COPY);
    expect(await contents(output)).toEqual(FILES);
  });

  it('of another model replaces what modeldl wrote, and nothing else', async () => {
    const { store, model, output } = await world();
    await writeOutput(model, output, COPY);
    await writeFile(join(output, 'notes.txt'), 'mine');
    const next = await putModel(store, { 'config.json': '{"b":1}', 'new/b.bin': 'b' }, keyOf('org/next'));
    await writeOutput(next, output, COPY);
    expect(await contents(output)).toEqual({
      'config.json': '{"b":1}',
      'new/b.bin': 'b',
      'notes.txt': 'mine',
    });
    expect(await readdir(output)).not.toContain('weights');
  });

  it('keeps a file of an earlier model that somebody changed', async () => {
    const { store, model, output } = await world();
    await writeOutput(model, output, COPY);
    await writeFile(join(output, 'weights/model.bin'), 'changed');
    const next = await putModel(store, { 'config.json': '{}' }, keyOf('org/next'));
    await writeOutput(next, output, COPY);
    expect(await contents(output)).toEqual({ 'config.json': '{}', 'weights/model.bin': 'changed' });
  });

  it('is refused where others have files, which stay as they are', async () => {
    const { model, output } = await world();
    await mkdir(output);
    await writeFile(join(output, 'config.json'), 'mine');
    await expect(writeOutput(model, output, COPY)).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--overwrite') as string,
    });
    expect(await contents(output)).toEqual({ 'config.json': 'mine' });
  });

  it('that cannot be looked at is refused before a model, and not as if that were stored', async () => {
    const output = join(await temporaryDirectory(), 'n'.repeat(300));
    await expect(checkOutput(output, COPY)).rejects.toMatchObject({
      code: 'DISK',
      hint: 'choose a directory that you may write and that has room with `--output`',
    });
  });

  it.each(['link', 'link/below'])(
    'at a link that leads nowhere is refused before a model: %s',
    async (at) => {
      const { model, output } = await world();
      await mkdir(output);
      await symlink(join(output, 'nowhere'), join(output, 'link'));
      const refusal = { code: 'USAGE', message: `The output is not a directory: ${join(output, at)}` };
      await expect(checkOutput(join(output, at), COPY)).rejects.toMatchObject(refusal);
      await expect(writeOutput(model, join(output, at), COPY)).rejects.toMatchObject(refusal);
    },
  );

  it('over a foreign file in a directory of modeldl is refused again and again', async () => {
    const { store, model, output } = await world({ 'a.txt': 'a' });
    await writeOutput(model, output, COPY);
    await writeFile(join(output, 'b.txt'), 'mine');
    const next = await putModel(store, { 'a.txt': 'a', 'b.txt': 'b' }, keyOf('org/next'));
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(writeOutput(next, output, COPY)).rejects.toMatchObject({ code: 'USAGE' });
      expect(await contents(output)).toEqual({ 'a.txt': 'a', 'b.txt': 'mine' });
    }
  });

  it('with `--overwrite` takes the places it needs and deletes nothing of others, then or later', async () => {
    const { store, model, output } = await world();
    await mkdir(output);
    await writeFile(join(output, 'config.json'), 'mine');
    await mkdir(join(output, 'weights'));
    await writeFile(join(output, 'weights/model.bin'), 'weights');
    await writeFile(join(output, 'weights/mine.bin'), 'mine');
    await writeOutput(model, output, { link: false, overwrite: true });
    expect(await contents(output)).toEqual({ ...FILES, 'weights/mine.bin': 'mine' });
    const next = await putModel(store, { 'other.txt': 'other' }, keyOf('org/next'));
    await writeOutput(next, output, COPY);
    // `model.bin` was right before modeldl came: it is not modeldl's to delete.
    expect(await contents(output)).toEqual({
      'other.txt': 'other',
      'weights/mine.bin': 'mine',
      'weights/model.bin': 'weights',
    });
  });

  it('after an interruption knows its own files', async () => {
    const { store, model, output } = await world();
    await writeOutput(model, output, COPY);
    const aborted = { ...COPY, signal: AbortSignal.abort() };
    const next = await putModel(store, { 'a.txt': 'a', 'b.txt': 'b' }, keyOf('org/next'));
    await expect(writeOutput(next, output, aborted)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await writeOutput(next, output, COPY);
    expect(await contents(output)).toEqual({ 'a.txt': 'a', 'b.txt': 'b' });
  });
});

describe('names are hostile (promise 8)', () => {
  it.each([{ link: false, overwrite: true }, COPY])(
    'nothing is written through a link in the output: %j',
    async (options) => {
      const { model, output } = await world();
      const elsewhere = await temporaryDirectory();
      await mkdir(output);
      if (!options.overwrite) await writeFile(join(output, '.modeldl.json'), '{"reference":"x","files":[]}');
      await symlink(elsewhere, join(output, 'weights'));
      await expect(writeOutput(model, output, options)).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('weights') as string,
      });
      expect(await readdir(elsewhere)).toEqual([]);
    },
  );

  it('a link in the place of a file is replaced, not followed', async () => {
    const { model, output } = await world();
    const elsewhere = join(await temporaryDirectory(), 'victim');
    await writeFile(elsewhere, 'victim');
    await mkdir(output);
    await symlink(elsewhere, join(output, 'config.json'));
    await writeOutput(model, output, { link: false, overwrite: true });
    expect(await readFile(elsewhere, 'utf8')).toBe('victim');
    expect(await contents(output)).toEqual(FILES);
  });

  it('a manifest that names files elsewhere is no manifest', async () => {
    const { model, output } = await world();
    const victim = join(output, '../victim');
    await mkdir(output);
    await writeFile(victim, 'victim');
    const file = { path: '../victim', bytes: 6, sha256: sha256Of('victim'), mtime: 0 };
    await writeFile(join(output, '.modeldl.json'), JSON.stringify({ reference: 'x', files: [file] }));
    await expect(writeOutput(model, output, COPY)).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readFile(victim, 'utf8')).toBe('victim');
  });

  it('somebody’s directory in the place of a file is left alone, as is a file in the place of the output', async () => {
    const { model, output } = await world();
    await mkdir(join(output, 'config.json'), { recursive: true });
    const options = { link: false, overwrite: true };
    await expect(writeOutput(model, output, options)).rejects.toMatchObject({ code: 'USAGE' });
    const file = `${output}-file`;
    await writeFile(file, 'mine');
    await chmod(file, 0o644);
    await expect(writeOutput(model, file, options)).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readFile(file, 'utf8')).toBe('mine');
  });
});
