import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { directorySize, recordedFiles, shareFiles } from '../../../converters/toolchain/share.js';
import { canMount, smallDisk } from '../../helpers/mounts.js';
import { requirePeer } from '../../helpers/require.js';
import { temporaryDirectory } from '../../helpers/store.js';

const SIGNAL = new AbortController().signal;
const LARGE = 'weights '.repeat(10_000);

interface Installed {
  readonly directory: string;
  readonly site: string;
}

/** An environment with one wheel, as pip leaves it. */
async function environment(
  files: Readonly<Record<string, string>>,
  options: { readonly version?: string; readonly parent?: string; readonly python?: string } = {},
): Promise<Installed> {
  const directory = await temporaryDirectory(options.parent);
  const site = join(directory, 'lib', options.python ?? 'python3.11', 'site-packages');
  const lines: string[] = [];
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(site, path)), { recursive: true });
    await writeFile(join(site, path), content);
    const digest = createHash('sha256').update(content).digest('base64url');
    lines.push(`${path},sha256=${digest},${Buffer.byteLength(content)}`);
  }
  const described = join(site, `solver-${options.version ?? '1.0'}.dist-info`);
  await mkdir(described);
  await writeFile(join(described, 'RECORD'), `${lines.join('\n')}\n`);
  return { directory, site };
}

async function inodes(...environments: readonly Installed[]): Promise<number> {
  const found = await Promise.all(environments.map(({ site }) => lstat(join(site, 'kernel.so'))));
  return new Set(found.map(({ ino }) => ino)).size;
}

describe('files that two environments have alike', () => {
  it('are linked, whatever Python they are for', async () => {
    const [old, fresh] = [
      await environment({ 'kernel.so': LARGE, 'a.py': LARGE, 'b.bin': 'small' }),
      await environment({ 'kernel.so': LARGE, 'a.py': LARGE, 'b.bin': 'small' }, { python: 'python3.12' }),
    ];
    expect(await shareFiles(fresh.directory, [old.directory], SIGNAL)).toBe(LARGE.length);
    expect(await inodes(old, fresh)).toBe(1);
    expect((await readdir(fresh.site)).sort()).toEqual([
      'a.py',
      'b.bin',
      'kernel.so',
      'solver-1.0.dist-info',
    ]);
    expect((await lstat(join(fresh.site, 'a.py'))).nlink).toBe(1);
    // A third has the choice of two, and any of them may go.
    const third = await environment({ 'kernel.so': LARGE });
    await shareFiles(third.directory, [old.directory, fresh.directory], SIGNAL);
    expect(await inodes(old, fresh, third)).toBe(1);
    const sizes = await directorySize(third.directory);
    expect(sizes.bytes - sizes.freedBytes).toBe(LARGE.length);
  });

  it('leave the other as it is when one is replaced, as pip does it', async () => {
    const [old, fresh] = [
      await environment({ 'kernel.so': LARGE }),
      await environment({ 'kernel.so': LARGE }),
    ];
    await shareFiles(fresh.directory, [old.directory], SIGNAL);
    // What runs now has its file open, and keeps it.
    await writeFile(join(fresh.site, 'kernel.so.new'), 'another');
    await rename(join(fresh.site, 'kernel.so.new'), join(fresh.site, 'kernel.so'));
    expect(await readFile(join(old.site, 'kernel.so'), 'utf8')).toBe(LARGE);
  });

  it.each<[string, (old: Installed) => Promise<unknown>]>([
    ['was damaged', ({ site }) => writeFile(join(site, 'kernel.so'), LARGE.toUpperCase())],
    ['became shorter', ({ site }) => writeFile(join(site, 'kernel.so'), 'short')],
    ['may be read by others', ({ site }) => chmod(join(site, 'kernel.so'), 0o600)],
    [
      'is a link itself',
      async ({ site }) => {
        await rename(join(site, 'kernel.so'), join(site, 'elsewhere'));
        await symlink('elsewhere', join(site, 'kernel.so'));
      },
    ],
  ])('are not taken from one that %s', async (_what, change) => {
    const [old, fresh] = [
      await environment({ 'kernel.so': LARGE }),
      await environment({ 'kernel.so': LARGE }),
    ];
    await change(old);
    expect(await shareFiles(fresh.directory, [old.directory], SIGNAL)).toBe(0);
    expect(await inodes(old, fresh)).toBe(2);
    expect(await readFile(join(fresh.site, 'kernel.so'), 'utf8')).toBe(LARGE);
    expect((await readdir(fresh.site)).sort()).toEqual(['kernel.so', 'solver-1.0.dist-info']);
  });

  it('are not taken from another version, nor from what is not there', async () => {
    const old = await environment({ 'kernel.so': LARGE }, { version: '0.9' });
    const fresh = await environment({ 'kernel.so': LARGE });
    expect(await shareFiles(fresh.directory, [old.directory, '/absent'], SIGNAL)).toBe(0);
  });

  requirePeer('root and `mount`', canMount)('stay apart on two file systems', async () => {
    const { directory } = await smallDisk('size=20M');
    const old = await environment({ 'kernel.so': LARGE, 'b.so': LARGE }, { parent: directory });
    const fresh = await environment({ 'kernel.so': LARGE, 'b.so': LARGE });
    expect(await shareFiles(fresh.directory, [old.directory], SIGNAL)).toBe(0);
    expect(await readFile(join(fresh.site, 'kernel.so'), 'utf8')).toBe(LARGE);
  });

  it('are not looked for after an interruption', async () => {
    const [old, fresh] = [
      await environment({ 'kernel.so': LARGE }),
      await environment({ 'kernel.so': LARGE }),
    ];
    await expect(shareFiles(fresh.directory, [old.directory], AbortSignal.abort())).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  });
});

describe("a wheel's record", () => {
  const digest = 'A'.repeat(43);
  it.each([
    [`a/b.so,sha256=${digest},20000`, ['a/b.so']],
    [`"a,""b"".so",sha256=${digest},20000`, ['a,"b".so']],
    [`a/b.so,sha256=${digest},100`, []],
    [`a/b.py,sha256=${digest},20000`, []],
    [`../../../bin/tool,sha256=${digest},20000`, []],
    [`/etc/passwd,sha256=${digest},20000`, []],
    [`C:/b.so,sha256=${digest},20000`, []],
    ['a/__pycache__/b.pyc,,', []],
    [`a/b.so,md5=${digest},20000`, []],
  ])('%s', (line, paths) => {
    expect(recordedFiles(line).map(({ path }) => path)).toEqual(paths);
  });
});
