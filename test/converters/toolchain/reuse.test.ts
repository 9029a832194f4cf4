import { createHash } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { getuid } from 'node:process';
import { describe, expect, it } from 'vitest';
import { packagesOf } from '../../../converters/toolchain/lock.js';
import {
  bytesOfPackages,
  recordedFiles,
  reusablePackages,
  takePackages,
} from '../../../converters/toolchain/reuse.js';
import { directorySize } from '../../../converters/toolchain/size.js';
import { canMount, smallDisk } from '../../helpers/mounts.js';
import { requirePeer } from '../../helpers/require.js';
import { temporaryDirectory } from '../../helpers/store.js';

const SIGNAL = new AbortController().signal;
const KERNEL = 'weights '.repeat(200_000);
const SOLVER = packagesOf('solver==1.0 \\\n    --hash=sha256:aa\n');

interface Installed {
  readonly directory: string;
  readonly site: string;
}

/** An environment as `venv` makes it. */
async function empty(parent?: string): Promise<Installed> {
  const directory = await temporaryDirectory(parent);
  const site = join(directory, 'lib', 'python3.11', 'site-packages');
  await mkdir(site, { recursive: true });
  return { directory, site };
}

/** With one wheel, as pip leaves it: files of the packages' directory, and programs. */
async function environment(
  files: (directory: string) => Readonly<Record<string, string>>,
  options: { readonly name?: string; readonly parent?: string } = {},
): Promise<Installed> {
  const made = await empty(options.parent);
  const described = `${options.name ?? 'solver'}-1.0.dist-info`;
  const lines = [`${described}/RECORD,,`];
  for (const [path, content] of Object.entries(files(made.directory))) {
    await mkdir(dirname(join(made.site, path)), { recursive: true });
    await writeFile(join(made.site, path), content, { mode: path.startsWith('..') ? 0o755 : 0o644 });
    const digest = createHash('sha256').update(content).digest('base64url');
    lines.push(
      path.endsWith('.pyc') ? `${path},,` : `${path},sha256=${digest},${Buffer.byteLength(content)}`,
    );
  }
  await mkdir(join(made.site, described));
  await writeFile(join(made.site, described, 'RECORD'), `${lines.join('\n')}\n`);
  return made;
}

async function take(from: Installed, to: Installed, signal = SIGNAL): Promise<readonly string[]> {
  const temporary = join(to.directory, '.tmp');
  await mkdir(temporary);
  const packages = await reusablePackages(from.directory, SOLVER, SOLVER);
  await takePackages(to.directory, packages, temporary, signal);
  await rm(temporary, { recursive: true });
  return treeOf(to.directory);
}

/** Files below. */
async function treeOf(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

const PLAIN = (): Readonly<Record<string, string>> => ({
  'solver/kernel.so': KERNEL,
  'solver/__init__.py': 'import os\n',
  'solver/__pycache__/__init__.cpython-311.pyc': 'compiled',
});

describe('a package of another environment', () => {
  it('is taken as links, and each environment stays whole when the other goes', async () => {
    const old = await environment(PLAIN);
    const fresh = await empty();
    expect(await take(old, fresh)).toEqual(await treeOf(old.directory));
    for (const path of ['solver/kernel.so', 'solver/__init__.py']) {
      const [one, other] = [await lstat(join(old.site, path)), await lstat(join(fresh.site, path))];
      expect(other.ino, path).toBe(one.ino);
    }
    const sizes = await directorySize(fresh.directory);
    expect(sizes.bytes - sizes.freedBytes).toBeGreaterThanOrEqual(KERNEL.length);
    await rm(old.directory, { recursive: true });
    expect(await readFile(join(fresh.site, 'solver/kernel.so'), 'utf8')).toBe(KERNEL);
  });

  it('is found by its entry in both locks, with what it takes', async () => {
    const old = await environment(PLAIN, { name: 'So.lver_x' });
    const lock = (hash: string, marker = ''): ReturnType<typeof packagesOf> =>
      packagesOf(`so-lver-x==1.0${marker} \\\n    --hash=sha256:${hash}\n`);
    const found = await reusablePackages(old.directory, lock('aa'), lock('aa'));
    expect(found.map(({ name }) => name)).toEqual(['so-lver-x']);
    expect(bytesOfPackages(found)).toBe(KERNEL.length + 'import os\n'.length);
    // Of several versions, each for a Python, one is there.
    const several = [...lock('aa'), ...packagesOf('so-lver-x==0.9 \\\n    --hash=sha256:cc\n')];
    expect(await reusablePackages(old.directory, several, several)).toEqual(found);
    // Another file, another condition, another version than what is there, and what is not there.
    expect(await reusablePackages(old.directory, lock('aa'), lock('bb'))).toEqual([]);
    expect(await reusablePackages(old.directory, lock('aa'), lock('aa', " ; os_name == 'nt'"))).toEqual([]);
    const later = packagesOf('so-lver-x==1.1 \\\n    --hash=sha256:aa\n');
    expect(await reusablePackages(old.directory, later, later)).toEqual([]);
    expect(await reusablePackages('/absent', lock('aa'), lock('aa'))).toEqual([]);
  });

  it.each<[string, (old: Installed) => Promise<unknown>]>([
    ['is damaged', ({ site }) => writeFile(join(site, 'solver/kernel.so'), KERNEL.toUpperCase())],
    ['lacks a file', ({ site }) => rm(join(site, 'solver/__init__.py'))],
    [
      'has a link in place of a file',
      async ({ site }) => {
        await rename(join(site, 'solver/kernel.so'), join(site, 'elsewhere'));
        await symlink('../elsewhere', join(site, 'solver/kernel.so'));
      },
    ],
    [
      'lists a file outside of its environment',
      ({ site }) =>
        writeFile(
          join(site, 'solver-1.0.dist-info/RECORD'),
          '../../../../x,,\nsolver-1.0.dist-info/RECORD,,\n',
        ),
    ],
    [
      'has a record that says something unknown',
      ({ site }) =>
        writeFile(
          join(site, 'solver-1.0.dist-info/RECORD'),
          'solver/kernel.so,md5=x,1\nsolver-1.0.dist-info/RECORD,,\n',
        ),
    ],
  ])('is left out when it %s', async (_what, change) => {
    const old = await environment(PLAIN);
    await change(old);
    expect(await take(old, await empty())).toEqual([]);
  });

  it('is left out where the package is already, in whatever version', async () => {
    const fresh = await environment(() => ({ 'solver/own.py': '' }));
    const before = await treeOf(fresh.directory);
    expect(await take(await environment(PLAIN), fresh)).toEqual(before);
  });

  it('keeps to itself what others may read or write: it is copied, with its times', async () => {
    const [old, fresh] = [await environment(PLAIN), await empty()];
    const [source, kernel] = ['solver/__init__.py', 'solver/kernel.so'];
    await chmod(join(old.site, source), 0o666);
    await chmod(join(old.site, kernel), 0o777);
    await utimes(join(old.site, source), 1, 2);
    expect(await take(old, fresh)).toEqual(await treeOf(old.directory));
    const [one, other] = [await lstat(join(fresh.site, source)), await lstat(join(fresh.site, kernel))];
    const expected = (await lstat(join(old.site, 'solver-1.0.dist-info/RECORD'))).mode & 0o777;
    expect([one.mode & 0o777, one.mtimeMs, one.nlink]).toEqual([expected, 2000, 1]);
    expect([other.mode & 0o666, other.mode & 0o100]).toEqual([expected, 0o100]);
  });

  requirePeer('root', getuid?.() === 0)("is copied where it is another user's", async () => {
    const [old, fresh] = [await environment(PLAIN), await empty()];
    await chown(join(old.site, 'solver/kernel.so'), 1234, 1234);
    await take(old, fresh);
    const taken = await lstat(join(fresh.site, 'solver/kernel.so'));
    expect([taken.uid, taken.nlink]).toEqual([0, 1]);
  });

  requirePeer('root and `mount`', canMount)('is copied between two file systems', async () => {
    const { directory } = await smallDisk('size=20M');
    const [old, fresh] = [await environment(PLAIN, { parent: directory }), await empty()];
    expect(await take(old, fresh)).toEqual(await treeOf(old.directory));
    expect(await readFile(join(fresh.site, 'solver/kernel.so'), 'utf8')).toBe(KERNEL);
  });

  it('is not taken after an interruption', async () => {
    const [old, fresh] = [await environment(PLAIN), await empty()];
    await expect(take(old, fresh, AbortSignal.abort())).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

describe('a program of a package', () => {
  const MAIN = 'import sys\nsys.exit(0)\n';

  it.each<[string, (directory: string) => string]>([
    ['in its first line', (directory) => `#!${directory}/bin/python3.11\n${MAIN}`],
    [
      'as pip does it for long addresses',
      (directory) => `#!/bin/sh\n'''exec' "${directory}/bin/python" "$0" "$@"\n' '''\n${MAIN}`,
    ],
    ['by an address that the environment had before', () => `#!/moved/away/bin/python\n${MAIN}`],
  ])('that names its Python %s runs with that of its new environment', async (_how, program) => {
    const path = '../../../bin/solve';
    const old = await environment((directory) => ({ ...PLAIN(), [path]: program(directory) }));
    const before = await readFile(join(old.site, path), 'utf8');
    const fresh = await empty();
    await take(old, fresh);
    const python = join(fresh.directory, 'bin', 'python');
    const expected = `#!/bin/sh\n'''exec' "${python}" "$0" "$@"\n' '''\n${MAIN}`;
    expect(await readFile(join(fresh.site, path), 'utf8')).toBe(expected);
    expect((await lstat(join(fresh.site, path))).mode & 0o100).toBe(0o100);
    const digest = createHash('sha256').update(expected).digest('base64url');
    const record = join('solver-1.0.dist-info', 'RECORD');
    expect(await readFile(join(fresh.site, record), 'utf8')).toContain(
      `${path},sha256=${digest},${Buffer.byteLength(expected)}\n`,
    );
    // Nothing of the other changed.
    expect(await readFile(join(old.site, path), 'utf8')).toBe(before);
    expect(await readFile(join(old.site, record), 'utf8')).not.toContain(digest);
  });

  it('that is made for one place only keeps its package from being taken', async () => {
    const old = await environment((directory) => ({
      ...PLAIN(),
      '../../../bin/solve.exe': `MZ launcher ${directory}/Scripts/python.exe`,
    }));
    expect(await take(old, await empty())).toEqual([]);
  });

  it('that names none is taken as it is', async () => {
    const old = await environment(() => ({ ...PLAIN(), '../../../bin/ninja': '\u007fELF' }));
    const fresh = await empty();
    expect(await take(old, fresh)).toContain('bin/ninja');
  });
});

describe("a wheel's record", () => {
  const digest = 'A'.repeat(43);
  it.each([
    [`a/b.so,sha256=${digest},20000`, [{ path: 'a/b.so', sha256: digest, bytes: 20000 }]],
    [`"a,""b"".so",sha256=${digest},1`, [{ path: 'a,"b".so', sha256: digest, bytes: 1 }]],
    ['a/__pycache__/b.pyc,,', [{ path: 'a/__pycache__/b.pyc', bytes: 0 }]],
    [`a.py,sha256=${digest},1\nb.py,md5=${digest},1`, []],
    [`a.py,sha256=${digest},1\r\nb.py`, []],
    ['', []],
  ])('%j', (record, files) => {
    expect(recordedFiles(record)).toEqual(files);
  });
});
