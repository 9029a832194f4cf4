import { createHash } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packedBytes, packTar, reproducibleTime, writeArchive, type PackedEntry } from '../src/pack.js';
import { rejected } from './helpers/refused.js';

const TIME = 1_000_000_000;
const { signal } = new AbortController();
const hasZstd = typeof Reflect.get(zlib, 'createZstdCompress') === 'function';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-pack-'));
});
afterEach(() => rm(directory, { recursive: true }));

function text(path: string, content: string): PackedEntry {
  const from = Buffer.from(content);
  return { path, bytes: from.length, from, sha256: createHash('sha256').update(from).digest('hex') };
}

async function tarOf(entries: readonly PackedEntry[], time = TIME): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of packTar(entries, { time, signal })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Every header, and the text of what it is of. */
async function read(tar: Buffer): Promise<readonly (readonly [Header, string])[]> {
  const reader = extract();
  Readable.from([tar]).pipe(reader);
  const found: (readonly [Header, string])[] = [];
  for await (const entry of reader) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
    found.push([entry.header, Buffer.concat(chunks).toString()]);
  }
  return found;
}

const LONG = `${'long/'.repeat(60)}name`;
const ENTRIES: readonly PackedEntry[] = [
  text('a/b/one.txt', 'one'),
  text('a/two.txt', ''),
  text('größe.txt', 'ß'),
  text(LONG, 'deep'),
  { path: 'link', to: 'a/b/one.txt' },
];

describe('a packed tar', () => {
  it('is these bytes, on every version of Node.js', async () => {
    const digest = createHash('sha256')
      .update(await tarOf(ENTRIES))
      .digest('hex');
    expect(digest).toBe('e7f73abee2ab618ac55e0a5bab972e51b6ad6ae12301ac31b1ace57ced21b936');
  });

  it('has owner 0, fixed modes, one time, and each directory once and first', async () => {
    const found = await read(await tarOf(ENTRIES));
    const names = found.map(([{ name }]) => name);
    expect(names.slice(0, 6)).toEqual(['a/', 'a/b/', 'a/b/one.txt', 'a/two.txt', 'größe.txt', 'long/']);
    expect(names.slice(-2)).toEqual([LONG, 'link']);
    for (const [{ uid, gid, uname, gname, mtime, mode, type }] of found) {
      expect([uid, gid, uname, gname, mtime.getTime()]).toEqual([0, 0, '', '', TIME * 1000]);
      expect(mode).toBe(type === 'directory' ? 0o755 : type === 'symlink' ? 0o777 : 0o644);
    }
    expect(found.find(([{ name }]) => name === 'größe.txt')?.[1]).toBe('ß');
    expect(found.at(-1)?.[0].linkname).toBe('a/b/one.txt');
  });

  it('is as large as was told before', async () => {
    expect((await tarOf(ENTRIES)).length).toBe(await packedBytes(ENTRIES));
    expect((await tarOf([])).length).toBe(await packedBytes([]));
  });

  it('tells the size of a file beyond 8 GiB, and reads no more of it than is asked for', async () => {
    const bytes = 9 * 1024 ** 3;
    const file = join(directory, 'large.bin');
    const handle = await open(file, 'w');
    await handle.truncate(bytes);
    await handle.close();
    const source = packTar([{ path: 'large.bin', bytes, from: file }], { time: TIME, signal });
    const reader = extract();
    const header = new Promise<Header>((resolve) => reader.once('entry', resolve));
    const { value } = await source.next();
    reader.write(value ?? Buffer.alloc(0));
    expect(await header).toMatchObject({ name: 'large.bin', size: bytes });
    await source.return();
    reader.destroy();
    expect(await packedBytes([{ path: 'large.bin', bytes, from: file }])).toBe(512 + bytes + 1024);
  });

  it.each([
    ['longer', 'four4', 4, undefined],
    ['shorter', 'abc', 4, undefined],
    ['other', 'four', 4, '0'.repeat(64)],
  ])('of a file that became %s is refused, and leaves nothing', async (_what, content, bytes, sha256) => {
    const file = join(directory, 'file');
    await writeFile(file, content);
    const entry = { path: 'file', bytes, from: file, ...(sha256 === undefined ? {} : { sha256 }) };
    const source = packTar([entry], { time: TIME, signal });
    const options = { compression: 'none', tarBytes: await packedBytes([entry]), signal } as const;
    const error = await rejected(writeArchive(source, join(directory, 'x.tar'), options));
    expect(error).toMatchObject({ code: 'INTEGRITY', details: { file } });
    expect(await readdir(directory)).toEqual(['file']);
  });

  it('that is interrupted leaves nothing', async () => {
    const file = join(directory, 'file');
    await writeFile(file, Buffer.alloc(8 * 1024 * 1024));
    const controller = new AbortController();
    const entries = [{ path: 'file', bytes: 8 * 1024 * 1024, from: file }];
    const source = packTar(entries, {
      time: TIME,
      signal: controller.signal,
      onFile: (_file, state) => {
        if (state === 'progress') controller.abort();
      },
    });
    const options = { compression: 'none', tarBytes: 0, signal: controller.signal } as const;
    const error = await rejected(writeArchive(source, join(directory, 'x.tar'), options));
    expect(error.code).toBe('INTERRUPTED');
    expect(await readdir(directory)).toEqual(['file']);
  });

  it.skipIf(!hasZstd)('by zstd is the same tar, and names its size', async () => {
    const tar = await tarOf(ENTRIES);
    const file = join(directory, 'x.tar.zst');
    const options = { compression: 'zstd', tarBytes: tar.length, signal } as const;
    const written = await writeArchive(packTar(ENTRIES, { time: TIME, signal }), file, options);
    const bytes = await readFile(file);
    const decompress: unknown = Reflect.get(zlib, 'zstdDecompressSync');
    expect(
      typeof decompress === 'function' && tar.equals(Reflect.apply(decompress, zlib, [bytes]) as Buffer),
    ).toBe(true);
    expect(written).toEqual({
      bytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  });

  it.skipIf(hasZstd)('by zstd is refused where Node.js has none', async () => {
    const options = { compression: 'zstd', tarBytes: 0, signal } as const;
    const source = packTar(ENTRIES, { time: TIME, signal });
    const error = await rejected(writeArchive(source, join(directory, 'x.tar.zst'), options));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', hint: expect.stringContaining('22.15') as unknown });
    expect(await readdir(directory)).toEqual([]);
  });
});

describe('the time of what is reproducible', () => {
  it.each([
    [undefined, 315_532_800],
    ['', 315_532_800],
    ['0', 0],
    ['1700000000', 1_700_000_000],
  ])('with SOURCE_DATE_EPOCH=%s is %i', (given, time) => {
    expect(reproducibleTime({ SOURCE_DATE_EPOCH: given })).toBe(time);
  });

  it.each(['now', '-1', '1.5', '99999999999'])('refuses %s', (given) => {
    expect(() => reproducibleTime({ SOURCE_DATE_EPOCH: given })).toThrow(/SOURCE_DATE_EPOCH.*: /);
  });
});
