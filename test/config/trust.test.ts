import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isTrusted, trust, writePrivate } from '../../src/config/trust.js';
import { refusalOf } from '../helpers/hub-context.js';
import { temporaryDirectory } from '../helpers/store.js';

describe('trust', () => {
  it('is for a path and a content', async () => {
    const directory = join(await temporaryDirectory(), 'modeldl');
    expect(await isTrusted(directory, '/a', 'digest')).toBe(false);
    await trust(directory, '/a', 'digest');
    await trust(directory, '/b', 'other');
    expect(await isTrusted(directory, '/a', 'digest')).toBe(true);
    expect(await isTrusted(directory, '/a', 'other')).toBe(false);
    expect(await isTrusted(directory, '/b', 'digest')).toBe(false);
    await trust(directory, '/a', 'newer');
    expect(await isTrusted(directory, '/a', 'digest')).toBe(false);
  });

  it.each(['', '{', '[]', '{"/a":1}'])('a damaged list (%j) trusts nothing', async (content) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'trusted.json'), content);
    expect(await isTrusted(directory, '/a', 'digest')).toBe(false);
    await trust(directory, '/a', 'digest');
    expect(await isTrusted(directory, '/a', 'digest')).toBe(true);
  });
});

describe('writePrivate', () => {
  it('makes a file and a directory for the user alone, and leaves nothing else', async () => {
    const directory = join(await temporaryDirectory(), 'new');
    const file = join(directory, 'secret.json');
    await writePrivate(file, { a: 1 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect(await readdir(directory)).toEqual(['secret.json']);
  });

  it('takes away what others could read before', async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, 'secret.json');
    await writeFile(file, '{}', { mode: 0o644 });
    await writePrivate(file, { a: 1 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it('fails with the path when it cannot be written', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'file'), '');
    const error = await refusalOf(writePrivate(join(directory, 'n'.repeat(300), 'secret.json'), {}), 'DISK');
    expect(error.message).toContain(directory);
  });
});
