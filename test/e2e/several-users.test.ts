/** Several users of one group on one cache: the umask and the directory decide who may do what. */
import { chmod, chown, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusedInText } from '../helpers/refused.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const MiB = 1024 * 1024;
const LARGE = Buffer.alloc(24 * MiB, 'large weights ');
const ALICE = 1001;
const BOB = 1002;
/** The group of both. */
const GROUP = 1500;

const asUsers = requirePeer(
  'root, `setpriv`, and a repository that all may read',
  canRunAs(ALICE) && hasProgram('setpriv'),
);

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/large', files: { 'config.json': '{}', 'model.safetensors': LARGE } },
      { id: 'org/same', files: { 'same.json': '{ }', 'same.safetensors': LARGE } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  await chmod(world.directory, 0o755);
  await makeCache(0o2775);
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

async function makeCache(mode: number): Promise<void> {
  await mkdir(world.cacheDir);
  await chown(world.cacheDir, 0, GROUP);
  await chmod(world.cacheDir, mode);
}

interface Who {
  readonly uid: number;
  readonly umask?: string;
}

function start({ uid, umask = '002' }: Who, ...args: readonly string[]): ReturnType<World['start']> {
  const setpriv = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, `--groups=${GROUP}`];
  return world.start({ under: [...setpriv, 'sh', '-c', `umask ${umask}; exec "$@"`, 'sh'] }, ...args);
}

async function succeed(who: Who, ...args: readonly string[]): Promise<Run> {
  const run = await start(who, ...args).done;
  expect(run.exitCode, run.stderr).toBe(0);
  return run;
}

function fetchedBytes(): number {
  return hub.requests.reduce((sum, { server: from, bytes }) => (from === 'cdn' ? sum + bytes : sum), 0);
}

interface Entry {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly isDirectory: boolean;
}

async function entries(): Promise<readonly Entry[]> {
  const names = await readdir(world.cacheDir, { recursive: true });
  return Promise.all(
    names.map(async (path) => {
      const found = await lstat(join(world.cacheDir, path));
      const { uid, gid, mode } = found;
      return { path, uid, gid, mode: mode & 0o777, isDirectory: found.isDirectory() };
    }),
  );
}

/** Blobs and what trees are made of them: nobody writes to these. */
function isBytes({ path }: Entry): boolean {
  return /^v1\/(blobs|models)\//.test(path);
}

describe('what a command makes has the permissions that the umask leaves', () => {
  asUsers('group-writable with 002', async () => {
    await succeed({ uid: ALICE }, 'pull', 'hf:org/large');
    for (const entry of await entries()) {
      expect(entry.gid, entry.path).toBe(GROUP);
      const expected = entry.isDirectory ? 0o775 : isBytes(entry) ? 0o444 : 0o664;
      expect([entry.path, entry.mode.toString(8)]).toEqual([entry.path, expected.toString(8)]);
    }
  });

  asUsers('closed to others with 027', async () => {
    await succeed({ uid: ALICE, umask: '027' }, 'pull', 'hf:org/large');
    for (const entry of await entries()) {
      const expected = entry.isDirectory ? 0o750 : isBytes(entry) ? 0o440 : 0o640;
      expect([entry.path, entry.mode.toString(8)]).toEqual([entry.path, expected.toString(8)]);
    }
  });
});

describe('two users of a group', () => {
  asUsers('use, verify, repair, remove and prune what the other pulled', async () => {
    const pulled = await succeed({ uid: ALICE }, 'pull', 'hf:org/large');
    hub.clearRequests();
    const again = await succeed({ uid: BOB }, 'pull', 'hf:org/large');
    expect(again.stdout).toBe(pulled.stdout);
    await succeed({ uid: BOB }, 'pull', 'hf:org/same');
    expect(fetchedBytes()).toBe(0);
    await succeed({ uid: BOB }, 'verify');

    await chmod(join(pulled.stdout, 'config.json'), 0o644);
    await writeFile(join(pulled.stdout, 'config.json'), '[]');
    const repaired = await succeed({ uid: BOB }, 'verify', '--repair', 'hf:org/large');
    expect(repaired.stderr + repaired.stdout).not.toMatch(/denied|permitted/);
    expect(await readFile(join(pulled.stdout, 'config.json'), 'utf8')).toBe('{}');
    await succeed({ uid: ALICE }, 'path', 'hf:org/large');

    await succeed({ uid: ALICE }, 'remove', 'hf:org/same', '--yes');
    await succeed({ uid: BOB }, 'remove', 'hf:org/large', '--yes', '--prune');
    await succeed({ uid: ALICE }, 'prune', '--partials', '--yes');
    const left = (await entries()).filter((entry) => isBytes(entry) && !entry.isDirectory);
    expect(left).toEqual([]);
  });

  asUsers('refresh what the other has, when its times changed', async () => {
    const { stdout } = await succeed({ uid: ALICE }, 'pull', 'hf:org/large');
    const file = join(stdout, 'model.safetensors');
    await world.start({ under: ['touch', file] }).done;
    const run = await succeed({ uid: BOB }, 'path', 'hf:org/large');
    expect(run.stdout).toBe(stdout);
    await succeed({ uid: BOB }, 'pull', 'hf:org/same');
  });

  asUsers('go on with what the other was interrupted at', async () => {
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const interrupted = start({ uid: ALICE }, 'pull', 'hf:org/large', '--connections', '1');
    await hub.stuck();
    interrupted.signal('SIGINT');
    expect((await interrupted.done).exitCode).toBe(130);
    hub.clearRequests();
    const { stdout } = await succeed({ uid: BOB }, 'pull', 'hf:org/large');
    expect((await readFile(join(stdout, 'model.safetensors'))).equals(LARGE)).toBe(true);
    expect(fetchedBytes()).toBeLessThan(LARGE.length);
    await succeed({ uid: BOB }, 'prune', '--partials', '--yes');
    const left = (await entries()).filter(({ path }) =>
      /^v1\/(claims|partials|sessions|tmp|trash)\//.test(path),
    );
    expect(left).toEqual([]);
  });

  asUsers('wait for each other', async () => {
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const first = start({ uid: ALICE }, 'pull', 'hf:org/large', '--connections', '1');
    await hub.stuck();
    const second = start({ uid: BOB }, 'pull', 'hf:org/large');
    await second.said('process');
    first.signal('SIGKILL');
    await first.done;
    const { exitCode, stderr } = await second.done;
    expect(exitCode, stderr).toBe(0);
  });
});

describe('what cannot work is refused with a hint', () => {
  asUsers('a sticky directory keeps what another made', async () => {
    await succeed({ uid: ALICE }, 'pull', 'hf:org/large');
    const all = (await entries()).filter(({ isDirectory }) => isDirectory);
    for (const { path } of all) await chmod(join(world.cacheDir, path), 0o3775);
    expectRefusedInText(await start({ uid: BOB }, 'remove', 'hf:org/large', '--yes').done, {
      code: 'DISK',
      message: /Cannot write .*: operation not permitted/,
      hint: /--cache-dir/,
    });
    await succeed({ uid: BOB }, 'path', 'hf:org/large');
  });

  asUsers('a cache made with umask 077 is closed', async () => {
    await succeed({ uid: ALICE, umask: '077' }, 'pull', 'hf:org/large');
    for (const command of [['pull', 'hf:org/large'], ['list'], ['path', 'hf:org/large']]) {
      expectRefusedInText(await start({ uid: BOB }, ...command).done, {
        code: 'DISK',
        message: /Cannot read .*: permission denied/,
        hint: /--cache-dir/,
      });
    }
  });

  asUsers('one made with umask 022 can be read by others, and not written', async () => {
    await succeed({ uid: ALICE, umask: '022' }, 'pull', 'hf:org/large');
    await succeed({ uid: BOB }, 'path', 'hf:org/large');
    await succeed({ uid: BOB }, 'pull', 'hf:org/large', '--offline');
    expectRefusedInText(await start({ uid: BOB }, 'pull', 'hf:org/same').done, {
      code: 'DISK',
      message: /may not be written by this user/,
      hint: /--cache-dir/,
    });
  });
});
