import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { memoryGroups, memoryOf, readMemory, requireMemory, type MemoryReading } from '../src/memory.js';
import type { ConversionPlan } from '../src/converter.js';
import type { ModeldlEvent } from '../src/events.js';
import type { Context } from '../src/context.js';
import { transpile } from './helpers/built.js';
import { whereKernelHas } from './helpers/require.js';
import { temporaryDirectory } from './helpers/store.js';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const MACHINE: MemoryReading = {
  totalBytes: 16 * GiB,
  availableBytes: 12 * GiB,
  swapBytes: 2 * GiB,
  groups: [],
};
const group = { path: '/docker/a', limitBytes: 4 * GiB, usedBytes: GiB, cachedBytes: 0 };

describe('how much memory may be had', () => {
  it.each<[string, Partial<MemoryReading>, number | undefined, number, string]>([
    ['is what the machine has with swap', {}, 18 * GiB, 12 * GiB, 'this machine'],
    [
      'is bounded by a group with the swap of the machine',
      { groups: [group] },
      6 * GiB,
      3 * GiB,
      'the control group /docker/a',
    ],
    [
      'and by a limit of swap',
      { groups: [{ ...group, swapLimitBytes: 0 }] },
      4 * GiB,
      3 * GiB,
      'the control group /docker/a',
    ],
    [
      'and by one of both together',
      { groups: [{ ...group, bothLimitBytes: 5 * GiB }] },
      5 * GiB,
      3 * GiB,
      'the control group /docker/a',
    ],
    [
      'counts cached pages of a group as free',
      { groups: [{ ...group, cachedBytes: GiB / 2 }] },
      6 * GiB,
      3.5 * GiB,
      'the control group /docker/a',
    ],
    [
      'is the least of all groups',
      { groups: [group, { ...group, path: '/docker', limitBytes: 2 * GiB }] },
      4 * GiB,
      GiB,
      'the control group /docker',
    ],
    [
      'ignores a group that may have more than there is',
      { groups: [{ ...group, limitBytes: 2 ** 62 }] },
      18 * GiB,
      12 * GiB,
      'this machine',
    ],
    [
      'is never below nothing',
      { groups: [{ ...group, usedBytes: 9 * GiB }] },
      6 * GiB,
      0,
      'the control group /docker/a',
    ],
    [
      'is bounded by the address space',
      { addressSpaceBytes: 3 * GiB },
      3 * GiB,
      12 * GiB,
      'the limit of the address space, `ulimit -v`',
    ],
  ])('%s', (_what, more, most, now, limit) => {
    expect(memoryOf({ ...MACHINE, ...more })).toEqual({ mostBytes: most, nowBytes: now, limit });
  });

  it('is open above where swap grows', () => {
    expect(memoryOf({ totalBytes: GiB, groups: [] })).toEqual({ nowBytes: GiB, limit: 'this machine' });
  });
});

describe('control groups that account for memory', () => {
  const V1 = '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory';
  const V2 = '41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
  it.each([
    ['version 2', '0::/user.slice/a.scope\n', V2, [[2, '/sys/fs/cgroup', '/user.slice/a.scope']]],
    [
      'version 1',
      '4:cpu,memory:/docker/a\n1:name=systemd:/\n',
      V1,
      [[1, '/sys/fs/cgroup/memory', '/docker/a']],
    ],
    [
      'both',
      '4:memory:/a\n0::/b\n',
      `${V1}\n${V2}`,
      [
        [1, '/sys/fs/cgroup/memory', '/a'],
        [2, '/sys/fs/cgroup', '/b'],
      ],
    ],
    [
      'a container that sees its own',
      '4:memory:/docker/a/b\n',
      V1.replace('0:32 /', '0:32 /docker/a'),
      [[1, '/sys/fs/cgroup/memory', '/b']],
    ],
    ['a container whose group is the root', '0::/\n', V2, [[2, '/sys/fs/cgroup', '/']]],
    [
      'one outside of what is mounted',
      '0::/../other\n',
      V2.replace('0:38 /', '0:38 /docker/a'),
      [[2, '/sys/fs/cgroup', '/']],
    ],
    ['none', '3:cpuset:/\n', V1, []],
  ])('%s', (_what, cgroup, mountinfo, expected) => {
    const found = memoryGroups(cgroup, mountinfo).map(({ version, mount, path }) => [version, mount, path]);
    expect(found).toEqual(expected);
  });
});

describe('reading', async () => {
  async function rootWith(files: Readonly<Record<string, string>>): Promise<string> {
    const root = await temporaryDirectory();
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    }
    return root;
  }

  it('takes in a group and all that it lies in', async () => {
    const root = await rootWith({
      'proc/meminfo': 'MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    500 kB\nSwapTotal:  100 kB\n',
      'proc/self/limits':
        'Limit  Soft Limit  Hard Limit  Units\nMax address space         4096000              unlimited            bytes\n',
      'proc/self/cgroup': '0::/a/b\n',
      'proc/self/mountinfo': '41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
      'sys/fs/cgroup/a/memory.max': '400000\n',
      'sys/fs/cgroup/a/memory.swap.max': '0\n',
      'sys/fs/cgroup/a/memory.current': '300000\n',
      'sys/fs/cgroup/a/memory.stat': 'anon 1\ninactive_file 50000\nactive_file 3\n',
      'sys/fs/cgroup/a/b/memory.max': 'max\n',
    });
    expect(await readMemory(root)).toEqual({
      totalBytes: 1_024_000,
      availableBytes: 512_000,
      swapBytes: 102_400,
      addressSpaceBytes: 4_096_000,
      groups: [
        { path: '/a', limitBytes: 400_000, swapLimitBytes: 0, usedBytes: 300_000, cachedBytes: 50_000 },
      ],
    });
  });

  it('knows this machine', async () => {
    const { totalBytes, availableBytes = totalBytes } = await readMemory();
    expect(totalBytes).toBeGreaterThan(100 * MiB);
    expect(availableBytes).toBeLessThanOrEqual(totalBytes);
  });

  const hierarchy = '/sys/fs/cgroup/memory/modeldl-test';
  const made = await mkdir(hierarchy).then(
    () => rmdir(hierarchy).then(() => true),
    () => false,
  );
  whereKernelHas('control groups that may be made', made)('sees the limit of a real group', async () => {
    const directory = `${hierarchy}-${process.pid}`;
    await mkdir(directory);
    onTestFinished(() => rmdir(directory));
    await writeFile(join(directory, 'memory.limit_in_bytes'), String(700 * MiB));
    const built = await transpile(['src/memory.ts', 'src/errors.ts']);
    onTestFinished(() => built.remove());
    const read = `import('${pathToFileURL(join(built.directory, 'src/memory.js')).href}').then(async (m) => {
      console.log(JSON.stringify(m.memoryOf(await m.readMemory())));
    })`;
    const join_ = `echo $$ > ${directory}/cgroup.procs && exec "$0" "$@"`;
    const { stdout } = await execa('sh', ['-c', join_, process.execPath, '--input-type=module', '-e', read]);
    const { swapBytes = 0 } = await readMemory();
    const both = Number(
      await readFile(join(directory, 'memory.memsw.limit_in_bytes'), 'utf8').catch(() => 2 ** 62),
    );
    const found = JSON.parse(stdout) as { mostBytes: number; nowBytes: number; limit: string };
    expect(found.mostBytes).toBe(Math.min(700 * MiB + swapBytes, both));
    expect(found.nowBytes).toBeLessThan(700 * MiB);
    expect(found.limit).toMatch(/^the control group .*modeldl-test/);
  });
});

describe('a conversion', () => {
  const events: ModeldlEvent[] = [];
  const run = (memoryBytes: number, spaceCheck = true): Promise<void> => {
    events.length = 0;
    const context = { spaceCheck, emit: (event: ModeldlEvent) => events.push(event) } as unknown as Context;
    const plan = { estimate: { memoryBytes } } as unknown as ConversionPlan;
    return requireMemory(context, 'hf:org/large', plan, () => Promise.resolve(MACHINE));
  };

  it('that needs more than there can ever be is refused with both figures', async () => {
    await expect(run(19 * GiB)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      exitCode: 9,
      message:
        'Cannot convert hf:org/large here: it needs about 19.0 GiB of memory, and this machine allows 18.0 GiB with swap',
      hint: expect.stringContaining('--no-space-check') as unknown,
    });
    await expect(run(19 * GiB, false)).resolves.toBeUndefined();
    expect(events).toEqual([]);
  });

  it('that needs more than is free now is a warning', async () => {
    await run(13 * GiB);
    expect(events).toEqual([
      {
        type: 'warning',
        message: expect.stringContaining('about 13.0 GiB of memory, and 12.0 GiB are free') as unknown,
      },
    ]);
    await run(12 * GiB);
    expect(events).toEqual([]);
  });
});
