/**
 * Containers without an engine that runs beside: buildah and podman, with a storage that ends with the test and a base
 * image that is made once a machine, since no public image can be pulled everywhere.
 */
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { geteuid } from 'node:process';
import { execa } from 'execa';
import { hasProgram, requirePeer } from './require.js';
import type { Run } from './program.js';

const PROGRAMS = ['buildah', 'podman', 'runc', 'debootstrap'];

/** The programs, and root, which containers without user namespaces take. */
export const HAVE_CONTAINERS = geteuid?.() === 0 && PROGRAMS.every((program) => hasProgram(program));

/** A test that needs them. */
export const withContainers = requirePeer(`root with ${PROGRAMS.join(', ')}`, HAVE_CONTAINERS);

/** What the base image is made of. */
const SUITE = 'bookworm';
const NODE = '22';
const NPM = '10';
/** Python programs: composing by conditions is in no Debian package yet. */
const TOOLS = ['podman-compose==1.6.0', 'kubernetes-validate==1.35.0'];

/** Takes the place of `node:22-slim`, which it resembles in Node.js, npm and the user 1000. */
const BASE = 'localhost/modeldl-test-base:latest';

export interface Build {
  readonly file: string;
  readonly context: string;
  readonly tag: string;
  readonly args?: Readonly<Record<string, string>>;
  /** Paths by id. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Where cache mounts are kept; default for all runs of this machine. */
  readonly caches?: string;
}

export interface Image {
  /** Digests of the layers, the base's first. */
  readonly layers: readonly string[];
  readonly bytes: number;
  readonly user: string;
  /** The configuration and the history, as JSON. */
  readonly text: string;
}

export interface Containers {
  readonly base: string;
  /** For programs that call podman. */
  readonly environment: Readonly<Record<string, string>>;
  build(build: Build): Promise<void>;
  image(tag: string): Promise<Image>;
  /** An image's root, mounted; the caller unmounts by `podman('image', 'unmount', tag)`. */
  podman(...args: readonly string[]): Promise<Run>;
  /** `podman run --rm <options> <image> <args>`. */
  run(options: readonly string[], image: string, ...args: readonly string[]): Promise<Run>;
  /** Environment with `podman-compose` and `kubernetes-validate`. */
  python(): Promise<string>;
  remove(): Promise<void>;
}

/** Makes the base image where the machine has none yet, which takes minutes. */
export async function startContainers(): Promise<Containers> {
  const cache = join(
    process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test'),
    'containers',
  );
  await mkdir(cache, { recursive: true });
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-containers-'));
  const driver = await storageDriver(cache, directory);
  const base = join(cache, `base-${SUITE}-node${NODE}-${driver}`);
  await once(base, (aside) => makeBase(aside, driver));

  const environment = await configure(directory, driver, base);
  const podman: Containers['podman'] = async (...args) => {
    const {
      exitCode = -1,
      stdout,
      stderr,
    } = await execa('podman', args, {
      env: environment,
      reject: false,
      stdin: 'ignore',
    });
    return { exitCode, stdout, stderr };
  };
  return {
    base: BASE,
    environment,
    podman,
    build: async ({ file, context, tag, args = {}, secrets = {}, caches = join(cache, 'mounts') }) => {
      await mkdir(caches, { recursive: true });
      const options = [
        ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
        ...Object.entries(secrets).map(([id, path]) => `--secret=id=${id},src=${path}`),
      ];
      await execa('buildah', ['bud', '--pull-never', ...options, '-f', file, '-t', tag, context], {
        // Its cache mounts lie below.
        env: { ...environment, TMPDIR: caches },
        all: true,
      });
    },
    image: async (tag) => {
      const { stdout } = await execa('podman', ['image', 'inspect', tag], { env: environment });
      const [found] = JSON.parse(stdout) as [
        { RootFS: { Layers: string[] }; Size: number; User: string; Config: object; History: object[] },
      ];
      return {
        layers: found.RootFS.Layers,
        bytes: found.Size,
        user: found.User,
        text: JSON.stringify([found.Config, found.History]),
      };
    },
    run: (options, image, ...args) => podman('run', '--rm', ...options, image, ...args),
    python: async () => {
      const tools = join(cache, TOOLS.join('-'));
      await once(tools, async (aside) => {
        await execa('python3', ['-m', 'venv', aside]);
        await execa(join(aside, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', ...TOOLS]);
      });
      return join(tools, 'bin', 'python');
    },
    remove: async () => {
      await podman('rm', '--all', '--force', '--time', '0');
      // Each holds one of the machine's locks. A reset of podman would take much longer, and takes what is not ours.
      await podman('volume', 'prune', '--force');
      await unmountBelow(directory);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/**
 * The storage mounts its own directory, and layers of containers that podman ends in the background: it may unmount one
 * first, or still use one.
 */
async function unmountBelow(directory: string): Promise<void> {
  for (const path of (await mountsBelow(directory)).reverse())
    await execa('umount', ['--lazy', path], { reject: false });
  // What lies below one that stays is not the tests' to remove.
  const left = await mountsBelow(directory);
  if (left.length > 0) throw new Error(`Expected no mounts, got ${left.join(', ')}`);
}

async function mountsBelow(directory: string): Promise<string[]> {
  const table = await readFile('/proc/self/mounts', 'utf8');
  const mounts = table.split('\n').map((line) => line.split(' ')[1] ?? '');
  return mounts.filter((path) => path.startsWith(`${directory}/`));
}

/** Made aside and renamed, so that an interruption leaves nothing half made. */
async function once(directory: string, make: (aside: string) => Promise<void>): Promise<void> {
  if (await exists(directory)) return;
  const aside = await mkdtemp(join(dirname(directory), 'making-'));
  try {
    await make(aside);
    await rename(aside, directory).catch(async (error: unknown) => {
      if (!(await exists(directory))) throw error;
    });
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

/**
 * Overlays save copying an image for every container; where they cannot be mounted, copies do. The base lies in the cache,
 * what is above it in the other directory, and only one of the two may be on a disk that can.
 */
async function storageDriver(cache: string, directory: string): Promise<'overlay' | 'vfs'> {
  const lower = await mkdtemp(join(cache, 'probe-'));
  try {
    for (const upper of [lower, directory]) if (!(await canOverlay(lower, upper))) return 'vfs';
    return 'overlay';
  } finally {
    await rm(lower, { recursive: true, force: true });
  }
}

async function canOverlay(lower: string, upper: string): Promise<boolean> {
  const probe = await mkdtemp(join(upper, 'probe-'));
  const [below, above, work, target] = [
    join(lower, 'below'),
    join(probe, 'above'),
    join(probe, 'work'),
    join(probe, 'target'),
  ];
  try {
    for (const path of [below, above, work, target]) await mkdir(path, { recursive: true });
    const options = `lowerdir=${below},upperdir=${above},workdir=${work}`;
    const { exitCode } = await execa('mount', ['-t', 'overlay', 'overlay', '-o', options, target], {
      reject: false,
    });
    if (exitCode !== 0) return false;
    await execa('umount', [target]);
    return true;
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

/** Settings of both programs, for containers in this machine's network and without its init. */
async function configure(directory: string, driver: string, base?: string): Promise<Record<string, string>> {
  const quoted = (path: string): string => JSON.stringify(join(directory, path));
  await writeFile(
    join(directory, 'storage.conf'),
    `[storage]\ndriver = "${driver}"\ngraphroot = ${quoted('graph')}\nrunroot = ${quoted('run')}\n` +
      (base === undefined
        ? ''
        : `[storage.options]\nadditionalimagestores = [${JSON.stringify(join(base, 'graph'))}]\n`),
  );
  await writeFile(
    join(directory, 'containers.conf'),
    '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\nlog_driver = "k8s-file"\n' +
      '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n' +
      `tmp_dir = ${quoted('libpod')}\nvolume_path = ${quoted('volumes')}\n`,
  );
  await writeFile(join(directory, 'policy.json'), '{ "default": [{ "type": "insecureAcceptAnything" }] }');
  return {
    CONTAINERS_CONF: join(directory, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: join(directory, 'storage.conf'),
    BUILDAH_ISOLATION: 'chroot',
  };
}

async function makeBase(aside: string, driver: string): Promise<void> {
  const root = join(aside, 'root');
  const environment = await configure(aside, driver);
  // The mirror that this machine uses.
  const { stdout } = await execa('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI)'], {
    reject: false,
  });
  const mirror = stdout
    .split('\n')
    .find((line) => line.startsWith(`${SUITE} `))
    ?.split(' ')[1];
  await execa('debootstrap', ['--variant=minbase', SUITE, root, ...(mirror === undefined ? [] : [mirror])]);
  for (const path of [
    'var/cache/apt',
    'var/lib/apt/lists',
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
  ])
    await rm(join(root, path), { recursive: true, force: true });

  const packages = join(aside, 'packages');
  await execa('npm', [
    'install',
    '--no-audit',
    '--no-fund',
    '--prefix',
    packages,
    `node@${NODE}`,
    `npm@${NPM}`,
  ]);
  await copyFile(join(packages, 'node_modules/node/bin/node'), join(root, 'usr/local/bin/node'));
  await mkdir(join(root, 'usr/local/lib/node_modules'), { recursive: true });
  await rename(join(packages, 'node_modules/npm'), join(root, 'usr/local/lib/node_modules/npm'));
  for (const name of ['npm', 'npx'])
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, 'usr/local/bin', name));
  await execa('chroot', [root, 'useradd', '--uid', '1000', '--create-home', 'node']);

  const buildah = async (...args: readonly string[]): Promise<string> =>
    (await execa('buildah', args, { env: environment })).stdout;
  const container = await buildah('from', 'scratch');
  await buildah('copy', '--quiet', container, root, '/');
  await buildah('config', '--cmd', 'node', container);
  await buildah('commit', '--quiet', '--rm', container, BASE);
  for (const path of [root, packages]) await rm(path, { recursive: true, force: true });
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
