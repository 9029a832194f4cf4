/** How much memory programs may have here: by the machine, the control groups it runs in, and its own limits. */
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { platform } from 'node:process';
import type { Context } from './context.js';
import type { ConversionPlan } from './converter.js';
import { ModeldlError } from './errors.js';

/** All in bytes. */
export interface MemoryReading {
  readonly totalBytes: number;
  /** Without swapping anything out; undefined where the system does not tell. */
  readonly availableBytes?: number;
  /** Undefined where it grows as it is needed, as on macOS. */
  readonly swapBytes?: number;
  /** The control groups of this process, with all that they lie in. */
  readonly groups: readonly GroupReading[];
  /** RLIMIT_AS, which child processes inherit. */
  readonly addressSpaceBytes?: number;
}

export interface GroupReading {
  /** As `/proc/self/cgroup` has it, or an ancestor. */
  readonly path: string;
  readonly limitBytes: number;
  /** Of swap alone (version 2). */
  readonly swapLimitBytes?: number;
  /** Of memory and swap together (version 1). */
  readonly bothLimitBytes?: number;
  readonly usedBytes: number;
  /** Cached pages among them, which are given up when memory is wanted. */
  readonly cachedBytes: number;
}

export interface Memory {
  /** What a program may have at most, swap included; undefined where that cannot be told. */
  readonly mostBytes?: number;
  /** What it can have now without swapping. */
  readonly nowBytes: number;
  /** What sets the first of these. */
  readonly limit: string;
}

/** The least of all that limits it. Pure. */
export function memoryOf(reading: MemoryReading): Memory {
  const { totalBytes, availableBytes = totalBytes, swapBytes, groups, addressSpaceBytes } = reading;
  const nowBytes = groups.reduce(
    (least, { limitBytes, usedBytes, cachedBytes }) =>
      Math.min(least, Math.max(0, limitBytes - usedBytes + cachedBytes)),
    availableBytes,
  );
  if (swapBytes === undefined) return { nowBytes, limit: 'this machine' };
  let [mostBytes, limit] = [totalBytes + swapBytes, 'this machine'];
  const lower = (bytes: number, what: string): void => {
    if (bytes < mostBytes) [mostBytes, limit] = [bytes, what];
  };
  for (const { path, limitBytes, swapLimitBytes = Infinity, bothLimitBytes = Infinity } of groups) {
    const withSwap = limitBytes + Math.min(swapBytes, swapLimitBytes);
    lower(Math.min(withSwap, bothLimitBytes), `the control group ${path}`);
  }
  if (addressSpaceBytes !== undefined)
    lower(addressSpaceBytes, 'the limit of the address space, `ulimit -v`');
  return { mostBytes, nowBytes, limit };
}

/** @param root directory that `/proc` and `/sys` are looked for in */
export async function readMemory(root = '/'): Promise<MemoryReading> {
  if (platform !== 'linux') return { totalBytes: totalmem(), groups: [] };
  const read = (path: string): Promise<string | undefined> =>
    readFile(join(root, path), 'utf8').catch(() => undefined);
  const meminfo = (await read('proc/meminfo')) ?? '';
  const kibibytes = (name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1];
    return found === undefined ? undefined : Number(found) * 1024;
  };
  const availableBytes = kibibytes('MemAvailable');
  const addressSpace = /^Max address space\s+(\d+)/m.exec((await read('proc/self/limits')) ?? '')?.[1];
  const groups: GroupReading[] = [];
  const places = memoryGroups(
    (await read('proc/self/cgroup')) ?? '',
    (await read('proc/self/mountinfo')) ?? '',
  );
  for (const { version, mount, path } of places) {
    for (const ancestor of ancestorsOf(path)) {
      const group = await readGroup(read, version, join(mount, ancestor), ancestor);
      if (group !== undefined) groups.push(group);
    }
  }
  return {
    totalBytes: kibibytes('MemTotal') ?? totalmem(),
    swapBytes: kibibytes('SwapTotal') ?? 0,
    groups,
    ...(availableBytes === undefined ? {} : { availableBytes }),
    ...(addressSpace === undefined ? {} : { addressSpaceBytes: Number(addressSpace) }),
  };
}

interface GroupPlace {
  readonly version: 1 | 2;
  /** Where its hierarchy is mounted. */
  readonly mount: string;
  /** Below the mount. */
  readonly path: string;
}

/**
 * Where the control groups of a process that account for memory are. A container sees its own group mounted as the whole
 * hierarchy, under the path that the host knows. Pure.
 */
export function memoryGroups(cgroup: string, mountinfo: string): readonly GroupPlace[] {
  return cgroup.split('\n').flatMap((line) => {
    const [, hierarchy, controllers = '', own = ''] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const version = hierarchy === '0' && controllers === '' ? 2 : 1;
    if (version === 1 && !controllers.split(',').includes('memory')) return [];
    for (const mounted of mountinfo.split('\n')) {
      // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, `-`, type, source, options.
      const [before = '', after = ''] = mounted.split(' - ');
      const [, , , root = '', mount = ''] = before.split(' ');
      const [type, , options = ''] = after.split(' ');
      const right =
        version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes('memory');
      if (!right) continue;
      const below = own === root || own.startsWith(root === '/' ? root : `${root}/`);
      const path = !below ? '/' : root === '/' ? own : own.slice(root.length) || '/';
      return [{ version, mount, path } as const];
    }
    return [];
  });
}

/** `/a/b` → `/a/b`, `/a`, `/`. */
function ancestorsOf(path: string): readonly string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return [...parts.keys(), parts.length].map((count) => `/${parts.slice(0, count).join('/')}`).reverse();
}

/** Undefined where it sets no limit. */
async function readGroup(
  read: (path: string) => Promise<string | undefined>,
  version: 1 | 2,
  directory: string,
  path: string,
): Promise<GroupReading | undefined> {
  const bytes = async (name: string): Promise<number | undefined> => {
    const text = (await read(join(directory, name)))?.trim();
    return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
  };
  const limitBytes = await bytes(version === 2 ? 'memory.max' : 'memory.limit_in_bytes');
  if (limitBytes === undefined) return undefined;
  const used = await bytes(version === 2 ? 'memory.current' : 'memory.usage_in_bytes');
  const statistics = (await read(join(directory, 'memory.stat'))) ?? '';
  const cached = /^(?:total_)?inactive_file (\d+)$/m;
  const total = /^total_inactive_file (\d+)$/m.exec(statistics) ?? cached.exec(statistics);
  const swapLimitBytes = version === 2 ? await bytes('memory.swap.max') : undefined;
  const bothLimitBytes = version === 1 ? await bytes('memory.memsw.limit_in_bytes') : undefined;
  return {
    path,
    limitBytes,
    ...(swapLimitBytes === undefined ? {} : { swapLimitBytes }),
    ...(bothLimitBytes === undefined ? {} : { bothLimitBytes }),
    usedBytes: used ?? 0,
    cachedBytes: Number(total?.[1] ?? 0),
  };
}

/**
 * Compares what a conversion needs with what can be had here, unless that is waived: more than ever is refused, more
 * than now is a warning.
 * @throws ModeldlError UNSUPPORTED with both figures
 */
export async function requireMemory(
  context: Context,
  reference: string,
  { estimate: { memoryBytes } }: ConversionPlan,
  reading: () => Promise<MemoryReading> = readMemory,
): Promise<void> {
  if (!context.spaceCheck) return;
  const { mostBytes = Infinity, nowBytes, limit } = memoryOf(await reading());
  if (memoryBytes > mostBytes) {
    throw new ModeldlError(
      'UNSUPPORTED',
      `Cannot convert ${reference} here: it needs about ${gibibytes(memoryBytes)} of memory, and ${limit} allows ${gibibytes(mostBytes)} with swap`,
      {
        hint: 'convert on a larger machine, or with a higher limit; `--no-space-check` tries it all the same',
        details: { reference, neededBytes: memoryBytes, allowedBytes: mostBytes },
      },
    );
  }
  if (memoryBytes <= nowBytes) return;
  context.emit({
    type: 'warning',
    message: `Converting ${reference} needs about ${gibibytes(memoryBytes)} of memory, and ${gibibytes(nowBytes)} are free: it may be slow, or the system may end it`,
  });
}

function gibibytes(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
