import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, realpath, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { file } from '../../hubs/file.js';
import { formatReference, parseReference, type ParseOptions, type Reference } from '../../src/reference.js';
import { createHubContext, refusalOf } from '../helpers/hub-context.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { describeHubConformance } from './conformance.js';

const SHA256 = 'a'.repeat(64);

function parse(text: string, more: Partial<ParseOptions> = {}): Reference {
  return parseReference(text, [file.syntax], { cwd: '/work', home: '/home/user', ...more });
}

function format(reference: Reference): string {
  return formatReference(reference, [file.syntax]);
}

async function makeFolder(): Promise<string> {
  return realpath(await mkdtemp(join(tmpdir(), 'modeldl-file-')));
}

describeHubConformance(
  'file',
  async () => {
    const root = await makeFolder();
    await mkdir(join(root, 'onnx'));
    await writeFile(join(root, 'config.json'), '{}');
    await writeFile(join(root, 'onnx/a model.onnx'), 'bytes');
    return {
      hub: file,
      options: {},
      model: { text: root, paths: ['config.json', 'onnx/a model.onnx'] },
      unknown: join(root, 'absent'),
      references: [
        './dir',
        '../up/file.onnx',
        '~/model',
        '/abs/a@b//c',
        'file:/abs/x//onnx',
        'file:///abs/x%2F%2Fy%40z',
        `file:/abs/x@${SHA256}`,
        '/abs/x+int8-cpu',
        'file:/abs/x%2Bint8-cpu',
      ],
      secrets: [],
      close: () => rm(root, { recursive: true }),
    };
  },
  { local: true },
);

describe('references', () => {
  it.each<[string, Partial<Reference>]>([
    ['./a//b@c#d%20', { id: '/work/a/b@c#d%20' }],
    ['~/m.onnx', { id: '/home/user/m.onnx' }],
    ['C:\\models\\m.onnx', { id: 'C:\\models\\m.onnx' }],
    ['file:///abs/m%20x.onnx', { id: '/abs/m x.onnx' }],
    ['file://localhost/abs/m.onnx', { id: '/abs/m.onnx' }],
    ['file:/abs/m.onnx', { id: '/abs/m.onnx' }],
    ['file:m.onnx', { id: '/work/m.onnx' }],
    ['file:../m', { id: '/m' }],
    ['file:~/m', { id: '/home/user/m' }],
    ['file:///C:/models/m', { id: 'C:/models/m' }],
    ['file:/dir//onnx', { id: '/dir', subpath: 'onnx' }],
    ['file:///dir//onnx/x', { id: '/dir', subpath: 'onnx/x' }],
    ['file:/a@b', { id: '/a@b' }],
    [`file:/a@${SHA256}//x`, { id: '/a', revision: SHA256, subpath: 'x' }],
    [`file:/a%40${SHA256}`, { id: `/a@${SHA256}` }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual({ hub: 'file', ...expected });
  });

  it.each(['file:', 'file://other/share/m', 'file:////x', 'file:/a//', 'file:/a//../b'])(
    'refuses %s',
    (text) => {
      expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );

  it('writes a plain path where that is read back, else the `file:` form', () => {
    expect(format({ hub: 'file', id: '/a b/c@d' })).toBe('/a b/c@d');
    expect(format({ hub: 'file', id: '/a', revision: SHA256 })).toBe(`file:/a@${SHA256}`);
    expect(format({ hub: 'file', id: '/a+deadbeef' })).toBe('file:/a%2Bdeadbeef');
  });

  it('takes a path that is there as it is, though its name ends like a conversion', () => {
    const there = (text: string): Reference => parse(text, { exists: (path) => path === '/work/m+deadbeef' });
    expect(there('./m+deadbeef')).toEqual({ hub: 'file', id: '/work/m+deadbeef' });
    expect(there('/work/m+deadbeef+int8-cpu')).toMatchObject({
      id: '/work/m+deadbeef',
      conversion: 'int8-cpu',
    });
    expect(there('./m+int8-cpu')).toEqual({ hub: 'file', id: '/work/m', conversion: 'int8-cpu' });
  });

  it('reads back what it writes, whatever the path', () => {
    const segment = fc
      .oneof(
        fc.stringMatching(/^[^\0/]+$/u),
        fc.constantFrom('a+int8-cpu', '+deadbeef', `x@${SHA256}`, 'C:', '~', '%2F'),
      )
      .filter((text) => !['.', '..'].includes(text));
    const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => segments.join('/'));
    fc.assert(
      fc.property(path, fc.option(path, { nil: undefined }), fc.boolean(), (id, subpath, pinned) => {
        fc.pre(!/^[A-Za-z]:/.test(id));
        const reference: Reference = {
          hub: 'file',
          id: `/${id}`,
          ...(subpath === undefined ? {} : { subpath }),
          ...(pinned ? { revision: SHA256 } : {}),
        };
        expect(parse(format(reference))).toEqual(reference);
      }),
      { numRuns: 500 },
    );
  });
});

describe('folders', () => {
  let root: string;
  beforeEach(async () => {
    root = await makeFolder();
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  function resolve(path = root, revision?: string, signal?: AbortSignal) {
    const reference: Reference = { hub: 'file', id: path, ...(revision === undefined ? {} : { revision }) };
    return file.resolve(reference, createHubContext(file, signal === undefined ? {} : { signal }));
  }
  async function write(path: string, text = path): Promise<void> {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  async function paths(): Promise<readonly string[]> {
    return (await resolve()).files.map((item) => item.path);
  }

  it('says that an empty folder is none', async () => {
    expect((await refusalOf(resolve(), 'NOT_FOUND')).hint).toContain('name the folder');
  });

  it('lists a single file under its own name', async () => {
    await write('m.onnx', '12345');
    const snapshot = await resolve(join(root, 'm.onnx'));
    expect(snapshot.revision).toBeUndefined();
    expect(snapshot.files).toEqual([
      { path: 'm.onnx', size: 5, url: expect.stringMatching(/^file:/) as string },
    ]);
  });

  it('lists everything below a folder but what other tools keep there', async () => {
    for (const path of ['b/c.bin', 'a.json', '.hidden', '.git/config', '.cache/huggingface/x', '.cache/y'])
      await write(path);
    expect(await paths()).toEqual(['.cache/y', '.hidden', 'a.json', 'b/c.bin']);
  });

  it('follows links inside the folder to the bytes', async () => {
    await write('blobs/1', 'bytes');
    await mkdir(join(root, 'tree'));
    await symlink('../blobs/1', join(root, 'tree/m.onnx'));
    await symlink('blobs', join(root, 'again'));
    const { files } = await resolve();
    expect(files.map((item) => item.path)).toEqual(['again/1', 'blobs/1', 'tree/m.onnx']);
    for (const item of files) expect(await readFile(fileURLToPath(item.url), 'utf8')).toBe('bytes');
  });

  it('takes a link as the root', async () => {
    await write('real/m.onnx');
    await symlink('real', join(root, 'link'));
    expect((await resolve(join(root, 'link'))).files.map((item) => item.path)).toEqual(['m.onnx']);
    expect((await resolve(join(root, 'link'))).id).toBe(join(root, 'link'));
  });

  it.each([
    ['a link to outside', (at: string) => symlink('/etc/passwd', at)],
    ['a link to the parent of the root', (at: string) => symlink('..', at)],
    ['a link to the root', (at: string) => symlink('.', at)],
    ['a link to itself', (at: string) => symlink('bad', at)],
  ])('refuses %s by its name', async (_what, make) => {
    await write('good');
    await make(join(root, 'bad'));
    const error = await refusalOf(resolve(), 'UNSUPPORTED');
    expect(error.message).toContain(join(root, 'bad'));
  });

  it('says NOT_FOUND for a link that leads nowhere', async () => {
    await symlink('absent', join(root, 'bad'));
    const error = await refusalOf(resolve(), 'NOT_FOUND');
    expect(error.message).toContain(join(root, 'bad'));
  });

  requirePeer('mkfifo', hasProgram('mkfifo'))('refuses what is neither file nor folder', async () => {
    execFileSync('mkfifo', [join(root, 'pipe')]);
    await refusalOf(resolve(), 'UNSUPPORTED');
    await refusalOf(resolve(join(root, 'pipe')), 'UNSUPPORTED');
  });

  it('says so when a folder is empty, or a path runs through a file', async () => {
    await refusalOf(resolve(), 'NOT_FOUND');
    await write('m.onnx');
    await refusalOf(resolve(join(root, 'm.onnx/x')), 'NOT_FOUND');
  });

  it('has a validator that stays while nothing changes, and changes with bytes, times, names and replacement', async () => {
    await write('m.onnx', 'one');
    await utimes(join(root, 'm.onnx'), 1000, 1000);
    const validators = [(await resolve()).validator];
    expect((await resolve()).validator).toBe(validators[0]);
    const change = async (work: () => Promise<void>): Promise<void> => {
      await work();
      validators.push((await resolve()).validator);
    };
    await change(() => writeFile(join(root, 'm.onnx'), 'longer'));
    await change(() => utimes(join(root, 'm.onnx'), 1001, 1001));
    await change(() => rename(join(root, 'm.onnx'), join(root, 'n.onnx')));
    await change(async () => {
      await writeFile(join(root, 'new'), 'longer');
      await utimes(join(root, 'new'), 1001, 1001);
      await rename(join(root, 'new'), join(root, 'n.onnx'));
    });
    expect(new Set(validators).size).toBe(validators.length);
  });

  it('asks a pinned file for its digest, and has no way back to what a folder held', async () => {
    await write('m.onnx');
    expect((await resolve(join(root, 'm.onnx'), SHA256)).files[0]?.digest).toEqual({
      algorithm: 'sha256',
      hex: SHA256,
    });
    const error = await refusalOf(resolve(root, SHA256), 'NOT_FOUND');
    expect(error.hint).toContain(`modeldl pull ${root}`);
  });
});
