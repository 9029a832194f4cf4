/**
 * A disk whose power can be cut: ext4 in an image on a loop device. The cut is the ioctl that file system developers
 * test with: it stops the file system without writing its journal, so that what nobody flushed is gone, and the next
 * mount recovers as after a real power cut. Needs root, loop devices, mkfs.ext4 and python3.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';

const MiB = 1024 * 1024;
const PRELOAD = fileURLToPath(new URL('power.mjs', import.meta.url));

/** FS_IOC_SHUTDOWN (0x8004587d) with FS_SHUTDOWN_FLAGS_NOLOGFLUSH (2), as `godown` of xfstests does. */
const CUT = [
  'python3',
  '-c',
  'import fcntl,os,struct,sys\nfcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,struct.pack("I",2))',
] as const;

/**
 * - `lossy`: names and sizes reach the disk before bytes do, as an older ext4 and other file systems have it
 * - `late`: bytes get their place, and files their size, long after they got their names
 * - `ordered`: what ext4 does by default, with a journal that is written every second
 */
export const MOUNT_OPTIONS = {
  lossy: 'data=writeback,nodelalloc,noauto_da_alloc,commit=300',
  late: 'data=writeback,noauto_da_alloc,commit=300',
  ordered: 'data=ordered,commit=1',
} as const;

export type DiskKind = keyof typeof MOUNT_OPTIONS;

/** Can this process make such a disk and cut its power? */
export const canCutPower = ((): boolean => {
  const directory = mkdtempSync(join(tmpdir(), 'modeldl-power-'));
  const quiet = { stdio: 'ignore' } as const;
  try {
    const image = `${directory}.img`;
    execFileSync('truncate', ['-s', '16M', image], quiet);
    try {
      execFileSync('mkfs.ext4', ['-q', '-F', image], quiet);
      execFileSync('mount', ['-o', 'loop', image, directory], quiet);
      try {
        execFileSync(CUT[0], [...CUT.slice(1), directory], quiet);
      } finally {
        execFileSync('umount', [directory], quiet);
      }
    } finally {
      rmSync(image, { force: true });
    }
    return true;
  } catch {
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
})();

export interface PowerDisk {
  readonly directory: string;
  /** Everything so far is on the disk. */
  flush(): Promise<void>;
  /** Names and sizes so far are on the disk, bytes need not be: what the journal's timer does now and then. */
  commit(): Promise<void>;
  /** From here on everything fails with EIO, as when the device is pulled out; `cut` ends that. */
  fail(): Promise<void>;
  /** From here on nothing can be written (EROFS), as after an error that the file system met; `cut` ends that. */
  stopWriting(): Promise<void>;
  /** Cuts the power and starts the machine again: a new boot. Whoever used the disk must have ended. */
  cut(): Promise<void>;
  /** For runs in the present boot. */
  environment(): Readonly<Record<string, string>>;
  /** For a run at whose n-th change of the disk everything there begins to fail with EIO. */
  failingAt(change: number): Readonly<Record<string, string>>;
  /** For a run at whose n-th change of the disk the power is cut, and which dies of it. */
  cuttingAt(change: number, commit: boolean): Readonly<Record<string, string>>;
}

/** Mounted again while a mount namespace of another suite holds it for an instant, a file system is still the stopped one. */
async function isStarted(directory: string): Promise<boolean> {
  return writeFile(join(directory, 'committed'), '').then(
    () => true,
    () => false,
  );
}

/** An empty disk of this size, gone when the test ends. */
export async function powerDisk(kind: DiskKind, bytes = 256 * MiB): Promise<PowerDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-power-'));
  const image = `${directory}.img`;
  await writeFile(image, '');
  await truncate(image, bytes);
  await execa('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1,nodiscard', image]);
  const mount = (): Promise<unknown> =>
    execa('mount', ['-o', `loop,errors=remount-ro,${MOUNT_OPTIONS[kind]}`, image, directory]);
  await mount();
  onTestFinished(async () => {
    await execa('umount', [directory]);
    await rm(directory, { recursive: true });
    await rm(image);
  });
  await chmod(directory, 0o777);
  const [command, ...cutArguments] = [...CUT, directory];
  let boots = 0;
  let bootedAt = Date.now() - 3_600_000;
  const environment = (): Readonly<Record<string, string>> => ({
    NODE_OPTIONS: `--import ${PRELOAD}`,
    MODELDL_TEST_BOOT: JSON.stringify({ id: `boot-${boots}`, at: bootedAt, upForMs: 60_000 }),
  });
  return {
    directory,
    environment,
    flush: async () => {
      await execa('sync', ['-f', directory]);
    },
    commit: async () => {
      const file = await open(join(directory, 'committed'), 'w');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    },
    fail: async () => {
      await execa(command, cutArguments);
    },
    stopWriting: async () => {
      const { stdout } = await execa('findmnt', ['-n', '-o', 'SOURCE', directory]);
      await writeFile(`/sys/fs/ext4/${basename(stdout)}/trigger_fs_error`, 'a test');
    },
    cut: async () => {
      // A run may have cut it already; then the file system refuses to be stopped again.
      await execa(command, cutArguments, { reject: false });
      do {
        await execa('umount', [directory]);
        await mount();
      } while (!(await isStarted(directory)));
      boots += 1;
      bootedAt = Date.now();
    },
    failingAt: (change) => ({
      ...environment(),
      MODELDL_TEST_CUT: JSON.stringify({ directory, change, command, cutArguments }),
    }),
    cuttingAt: (change, commit) => ({
      ...environment(),
      MODELDL_TEST_CUT: JSON.stringify({ directory, change, commit, dies: true, command, cutArguments }),
    }),
  };
}
