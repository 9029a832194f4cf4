import { access, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assetPath } from '../../../converters/assets.js';
import { createToolchain } from '../../../converters/toolchain/environment.js';
import type { RoomNeed } from '../../../src/converter.js';
import { ModeldlError } from '../../../src/errors.js';
import type { Store } from '../../../src/store/layout.js';
import {
  fakePython,
  toolchainContext,
  writeScript,
  type FakeOptions,
  type FakePython,
  type ContextOptions,
  type TestToolchainContext,
} from '../../helpers/interpreter.js';
import { temporaryDirectory, temporaryStore } from '../../helpers/store.js';

const toolchain = createToolchain({
  name: 'openvino',
  title: 'openvino and nncf',
  downloadBytes: 1000,
  installedBytes: 1000,
  shown: ['openvino', 'nncf'],
});

function contextOf(store: Store, python: FakePython, options: ContextOptions = {}): TestToolchainContext {
  // `/bin` for what the scripts call.
  return toolchainContext(store, { ...options, environment: { PATH: `${python.bin}:/bin` } });
}

async function failure(promise: Promise<unknown>): Promise<ModeldlError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ModeldlError) return error;
  throw new Error(`Expected a ModeldlError, got ${String(error)}`);
}

async function environments(context: TestToolchainContext): Promise<readonly string[]> {
  return readdir(context.toolchainsDir);
}

describe('installing', () => {
  it('makes an environment with the locked files and their hashes, once', async () => {
    const store = await temporaryStore();
    const python = await fakePython();
    const context = contextOf(store, python);
    expect(await toolchain.status(context)).toMatchObject({ state: 'missing' });
    const made = await toolchain.ensure(context);
    expect(made.python).toBe(join(made.directory ?? '', 'bin', 'python'));
    const pip = (await python.calls()).filter((call) => call.includes(' pip install '));
    expect(pip).toHaveLength(1);
    expect(pip[0]).toContain('--require-hashes');
    expect(pip[0]).toMatch(/ --requirement \S+locked\.txt$/);
    const locked = await readFile(join(made.directory ?? '', '.lock.txt'), 'utf8');
    expect(locked).toBe(await readFile(assetPath('requirements', 'openvino.txt'), 'utf8'));
    expect(context.events).toContainEqual({
      type: 'stage',
      stage: 'Installing the toolchain openvino',
      detail: 'Collecting openvino==2026.4.1',
    });
    expect(await toolchain.ensure(context)).toEqual(made);
    expect((await python.calls()).filter((call) => call.includes(' pip install '))).toHaveLength(1);
    expect(await toolchain.status(context)).toMatchObject({
      state: 'installed',
      directory: made.directory,
      versions: { openvino: '2026.4.1', nncf: '3.4.0' },
    });
  });

  it('is done once by two who ask at the same time', async () => {
    const store = await temporaryStore();
    // Installing lasts until both have looked for an interpreter, and so for the environment.
    const python = await fakePython({
      pip: ['until [ "$(grep -c "^-I -c" "$CALLS")" -ge 2 ]; do :; done'],
    });
    const made = await Promise.all([
      toolchain.ensure(contextOf(store, python)),
      toolchain.ensure(contextOf(store, python)),
    ]);
    expect(made[0]).toEqual(made[1]);
    expect((await python.calls()).filter((call) => call.includes(' pip install '))).toHaveLength(1);
  });

  it('keeps what the user has for Python in general out of the environment', async () => {
    const store = await temporaryStore();
    const python = await fakePython({ pip: ['env'] });
    const habits = { PYTHONPATH: '/mine', PYTHONHOME: '/mine', PIP_TARGET: '/mine', PIP_USER: '1' };
    const context = toolchainContext(store, {
      environment: { ...habits, PATH: `${python.bin}:/bin`, PIP_INDEX_URL: 'https://mirror.example/simple' },
    });
    await toolchain.ensure(context);
    const log = await readFile(join(context.toolchainsDir, '..', 'logs', 'toolchain-openvino.log'), 'utf8');
    expect(log).not.toContain('/mine');
    expect(log).toContain('PIP_USER=0\n');
    expect(log).toContain('PIP_INDEX_URL=https://mirror.example/simple\n');
  });

  it('puts what lies on the disk meanwhile into the environment, and takes it away', async () => {
    const store = await temporaryStore();
    const keep = 'echo "left by $3 in $TMPDIR"; echo x > "$TMPDIR/left"';
    const python = await fakePython({
      venv: [keep, 'mkdir -p "$3/bin" && cp "$0" "$3/bin/python"'],
      pip: [keep],
    });
    const context = contextOf(store, python);
    const { directory = '' } = await toolchain.ensure(context);
    const log = await readFile(join(context.toolchainsDir, '..', 'logs', 'toolchain-openvino.log'), 'utf8');
    expect(log.match(/left by \S+ in \S+/g)).toEqual([
      `left by ${directory} in ${directory}/.tmp`,
      `left by install in ${directory}/.tmp`,
    ]);
    expect((await readdir(directory)).sort()).toEqual(['.complete', '.lock.txt', 'bin']);
  });

  it('has an environment per version of Python', async () => {
    const store = await temporaryStore();
    const first = await toolchain.ensure(contextOf(store, await fakePython()));
    const same = await toolchain.ensure(contextOf(store, await fakePython()));
    const newer = await toolchain.ensure(contextOf(store, await fakePython({ version: '3.12.1' })));
    expect(same.directory).toBe(first.directory);
    expect(newer.directory).not.toBe(first.directory);
    // The other one is seen, since only a removal takes it.
    const status = await toolchain.status(contextOf(store, await fakePython()));
    expect(status).toMatchObject({ state: 'installed', directory: first.directory });
    expect(status.unusedBytes).toBeGreaterThan(0);
    const third = await toolchain.status(contextOf(store, await fakePython({ version: '3.13.0' })));
    expect(third.state).toBe('missing');
    expect(third.unusedBytes).toBeGreaterThan(status.unusedBytes ?? 0);
  });
});

describe('an installation that did not finish', () => {
  it('is not taken for complete, and is made anew from nothing', async () => {
    const store = await temporaryStore();
    const python = await fakePython();
    const context = contextOf(store, python);
    const { directory = '' } = await toolchain.ensure(context);
    await rm(join(directory, '.complete'));
    await writeFile(join(directory, 'half'), '');
    expect(await toolchain.status(context)).toMatchObject({
      state: 'broken',
      reason: 'its installation is not finished: it goes on in another process, or is made anew on next use',
    });
    await toolchain.ensure(context);
    expect(await readdir(directory)).not.toContain('half');
    expect(await toolchain.status(context)).toMatchObject({ state: 'installed' });
  });

  it('is made anew when its interpreter is gone', async () => {
    const store = await temporaryStore();
    const python = await fakePython();
    const context = contextOf(store, python);
    const made = await toolchain.ensure(context);
    await rm(made.python);
    expect((await toolchain.status(context)).state).toBe('broken');
    await toolchain.ensure(context);
    await access(made.python);
  });

  it('leaves nothing when it is cancelled, and ends the installer with what it started', async () => {
    const store = await temporaryStore();
    const python = await fakePython({ pip: ['echo "Collecting all (x)"', 'sleep 1000 & wait'] });
    const context = contextOf(store, python);
    const ended = failure(toolchain.ensure(context));
    await expect
      .poll(() => context.events, { timeout: 20_000 })
      .toContainEqual(expect.objectContaining({ detail: 'Collecting all' }));
    context.abort();
    expect((await ended).code).toBe('INTERRUPTED');
    expect(await environments(context)).toEqual([]);
  });
});

describe('what cannot be installed', () => {
  it.each<[string, FakeOptions, string, string, string]>([
    [
      'without the venv module',
      {
        venv: [
          'echo "The virtual environment was not created successfully because ensurepip is not available."',
          'exit 1',
        ],
      },
      'TOOLCHAIN',
      'ensurepip is not available',
      'python3-venv',
    ],
    [
      'when a file differs from its hash',
      {
        pip: [
          'echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated"',
          'echo "    numpy==2.2.6:"; echo "        Expected sha256 abc"; exit 1',
        ],
      },
      'INTEGRITY',
      'DO NOT MATCH THE HASHES',
      'serves other files than were locked',
    ],
    [
      'without network',
      {
        pip: [
          `echo "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError': /simple/nncf/"`,
          'echo "ERROR: Could not find a version that satisfies the requirement nncf==3.4.0 (from versions: none)"',
          'echo "ERROR: No matching distribution found for nncf==3.4.0"; exit 1',
        ],
      },
      'NETWORK',
      'connection broken by',
      'check the network',
    ],
    [
      'from an index without a version',
      {
        pip: [
          'echo "ERROR: Could not find a version that satisfies the requirement nncf==3.4.0 (from versions: 1.0)"',
          'echo "ERROR: No matching distribution found for nncf==3.4.0"; exit 1',
        ],
      },
      'TOOLCHAIN',
      'No matching distribution found for nncf==3.4.0',
      'lacks a locked version',
    ],
    [
      'on a full disk',
      {
        pip: [
          `echo "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"; exit 1`,
        ],
      },
      'DISK',
      'No space left on device',
      'modeldl prune',
    ],
    [
      'when the installer dies without a word',
      { pip: ['exit 9'] },
      'TOOLCHAIN',
      'exit code 9',
      'toolchains.python',
    ],
  ])('%s', async (_case, options, code, cause, hint) => {
    const store = await temporaryStore();
    const context = contextOf(store, await fakePython(options));
    const error = await failure(toolchain.ensure(context));
    expect(error.code).toBe(code);
    expect(error.message).toContain('Installing the toolchain `openvino` failed: ');
    expect(error.message).toContain(cause);
    expect(error.hint).toContain(hint);
    expect(error.hint).toContain(String(error.details.file));
    await access(String(error.details.file));
    expect(await environments(context)).toEqual([]);
  });

  it.each([
    ['there is no Python', { name: 'perl' }, 'none was found'],
    ['it is too old', { version: '3.9.2' }, 'python3 is 3.9.2'],
    ['it is too new', { version: '3.99.0' }, 'python3 is 3.99.0'],
  ])('when %s', async (_case, options, found) => {
    const store = await temporaryStore();
    const python = await fakePython(options);
    const tools = await temporaryDirectory();
    await writeScript(join(tools, 'head'), 'exec /bin/head "$@"');
    const context = toolchainContext(store, { environment: { PATH: `${python.bin}:${tools}` } });
    const error = await failure(toolchain.ensure(context));
    expect(error.code).toBe('TOOLCHAIN');
    expect(error.message).toBe(`The toolchain \`openvino\` needs Python 3.10 to 3.14: ${found}`);
    expect(error.hint).toContain('python3-venv');
    expect(await toolchain.status(context)).toMatchObject({ state: 'missing', reason: error.message });
  });

  it.each([
    ['/nowhere/python', 'which does not run'],
    ['/bin/true', 'which is no Python'],
  ])('when the Python that the settings name is %s', async (python, found) => {
    const context = toolchainContext(await temporaryStore(), { settings: { python } });
    const error = await failure(toolchain.ensure(context));
    expect(error.code).toBe('TOOLCHAIN');
    expect(error.message).toContain(`\`toolchains.python\` names ${python}, ${found}`);
    expect(error.hint).toBe('correct or unset `toolchains.python`');
  });

  it('when Python is not one of those that its lock is for', async () => {
    const narrow = createToolchain({
      name: 'old',
      title: 'old',
      downloadBytes: 1,
      installedBytes: 1,
      shown: ['openvino'],
      python: { oldest: 10, newest: 12 },
      lock: assetPath('requirements', 'openvino.txt'),
    });
    const store = await temporaryStore();
    const newer = await fakePython({ version: '3.13.1' });
    const tools = await temporaryDirectory();
    await writeScript(join(tools, 'head'), 'exec /bin/head "$@"');
    const only = toolchainContext(store, { environment: { PATH: `${newer.bin}:${tools}` } });
    const error = await failure(narrow.ensure(only));
    expect([error.code, error.exitCode]).toEqual(['TOOLCHAIN', 9]);
    expect(error.message).toBe('The toolchain `old` needs Python 3.10 to 3.12: python3 is 3.13.1');
    // The next one on the PATH that fits is taken.
    const older = await fakePython({ version: '3.11.4', name: 'python3.11' });
    const both = toolchainContext(store, { environment: { PATH: `${newer.bin}:${older.bin}:/bin` } });
    expect((await narrow.status(both)).reason).toBeUndefined();
  });

  it.each([
    ['the settings forbid', { install: 'never' }],
    ['`--offline` forbids', { offline: true }],
  ] as const)('because %s it', async (why, settings) => {
    const store = await temporaryStore();
    const python = await fakePython();
    const error = await failure(toolchain.ensure(contextOf(store, python, { settings })));
    expect(error.exitCode).toBe(9);
    expect(error.message).toContain(why);
    expect(error.hint).toContain('`modeldl toolchain install openvino`');
    expect((await python.calls()).some((call) => call.includes('venv'))).toBe(false);
  });

  it('does not hinder the use of one that is there', async () => {
    const store = await temporaryStore();
    const python = await fakePython();
    const made = await toolchain.ensure(contextOf(store, python));
    const forbidden = { install: 'never', offline: true } as const;
    expect(await toolchain.ensure(contextOf(store, python, { settings: forbidden }))).toEqual(made);
  });
});

describe('room on the disk', () => {
  const large = createToolchain({
    name: 'openvino',
    title: 'openvino and nncf',
    downloadBytes: 300,
    installedBytes: 1000,
    shown: ['openvino'],
  });
  const refusing = (most: number) => {
    const asked: (readonly RoomNeed[])[] = [];
    const requireRoom = (needs: readonly RoomNeed[]): Promise<void> => {
      asked.push(needs);
      const bytes = needs.reduce((sum, need) => sum + need.bytes, 0);
      return bytes <= most ? Promise.resolve() : Promise.reject(new ModeldlError('DISK', 'Too small'));
    };
    return { asked, requireRoom };
  };

  async function contextWith(python: FakePython, most: number, settings: ContextOptions['settings'] = {}) {
    const { asked, requireRoom } = refusing(most);
    const environment = { PATH: `${python.bin}:/bin`, HOME: '/home/me' };
    return {
      asked,
      context: toolchainContext(await temporaryStore(), { environment, requireRoom, settings }),
    };
  }

  it('is asked for before anything is made: the environment, its download, and a copy in the cache of pip', async () => {
    const python = await fakePython();
    const { asked, context } = await contextWith(python, 1299);
    const error = await failure(large.ensure(context));
    expect([error.code, error.exitCode]).toEqual(['DISK', 7]);
    const need = { directory: context.toolchainsDir, bytes: 1300, what: 'the toolchain `openvino`' };
    expect(asked).toEqual([[need, { directory: '/home/me', bytes: 300, what: "pip's cache" }], [need]]);
    expect((await python.calls()).some((call) => call.includes('venv'))).toBe(false);
    expect(await environments(context)).toEqual([]);
    expect(await large.status(context)).toMatchObject({
      state: 'missing',
      toInstall: { downloadBytes: 300, installedBytes: 1000, needs: [need] },
    });
  });

  it.each([
    [1599, {}, true],
    [1600, {}, false],
    // Wheels of a folder are unpacked from where they lie.
    [1000, { wheels: '/' }, true],
  ])('of %i bytes with %o does without the cache of pip: %s', async (most, settings, without) => {
    const python = await fakePython();
    const { context } = await contextWith(python, most, settings);
    await large.ensure(context);
    const call = (await python.calls()).find((line) => line.includes(' pip install '));
    expect(call?.includes('--no-cache-dir')).toBe(without);
  });

  it('lets pip keep its downloads beside the environment, never in /tmp', async () => {
    const python = await fakePython({ pip: ['echo "$TMPDIR"; test -d "$TMPDIR"'] });
    const context = contextOf(await temporaryStore(), python);
    const { directory = '' } = await toolchain.ensure(context);
    const log = join(context.toolchainsDir, '..', 'logs', 'toolchain-openvino.log');
    expect(await readFile(log, 'utf8')).toContain(`${directory}/.tmp\n`);
    expect(await readdir(directory)).toEqual(['.complete', '.lock.txt', 'bin']);
  });
});

describe('a folder of wheels', () => {
  it.each<[string, FakeOptions['pip'], string, string]>([
    [
      'that lacks a package',
      ['echo "ERROR: No matching distribution found for nncf==3.4.0"; exit 1'],
      'TOOLCHAIN',
      '`modeldl toolchain download`',
    ],
    [
      'with another file',
      ['echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."; exit 1'],
      'INTEGRITY',
      'the folder `toolchains.wheels` holds other files',
    ],
  ])('%s is told from an index', async (_what, pip, code, hint) => {
    const python = await fakePython(pip === undefined ? {} : { pip });
    const wheels = await temporaryDirectory();
    const context = contextOf(await temporaryStore(), python, { settings: { wheels, offline: true } });
    const error = await failure(toolchain.ensure(context));
    expect(error.code).toBe(code);
    expect(error.hint).toContain(hint);
    const call = (await python.calls()).find((line) => line.includes(' pip install '));
    expect(call).toContain(`--no-index --find-links ${wheels}`);
    expect(await environments(context)).toEqual([]);
  });

  it('that is not there is a mistake in the configuration', async () => {
    const python = await fakePython();
    const context = contextOf(await temporaryStore(), python, { settings: { wheels: '/absent/wheels' } });
    const error = await failure(toolchain.ensure(context));
    expect([error.code, error.exitCode]).toEqual(['CONFIG', 2]);
    expect(error.message).toBe('The folder of wheels is not there: /absent/wheels');
    expect((await python.calls()).some((call) => call.includes('venv'))).toBe(false);
  });

  it('gets nothing of a download that fails', async () => {
    const parent = await temporaryDirectory();
    const context = contextOf(await temporaryStore(), await fakePython());
    for (const folder of [join(parent, 'wheels'), parent]) {
      const error = await failure(toolchain.download(context, folder));
      expect(error.message).toContain('Fetching the wheels of the toolchain `openvino` failed');
      expect(await readdir(parent)).toEqual([]);
    }
    expect(await readdir(join(context.toolchainsDir, '..', 'tmp'))).toEqual([]);
    const offline = contextOf(await temporaryStore(), await fakePython(), { settings: { offline: true } });
    expect((await failure(toolchain.download(offline, parent))).exitCode).toBe(5);
  });
});

describe('removing', () => {
  it('takes every environment of the name, tells their bytes, and leaves others', async () => {
    const store = await temporaryStore();
    const context = contextOf(store, await fakePython());
    await toolchain.ensure(context);
    // Names of others may begin alike.
    const other = join(context.toolchainsDir, 'openvino-5.0-0123456789ab');
    await mkdir(other);
    expect((await toolchain.remove(context)).freedBytes).toBeGreaterThan(0);
    expect(await environments(context)).toEqual(['openvino-5.0-0123456789ab']);
    expect(await toolchain.status(context)).toMatchObject({ state: 'missing' });
  });

  it('waits for an installation that is under way', async () => {
    const store = await temporaryStore();
    const marks = await temporaryDirectory();
    const python = await fakePython({
      pip: [`touch ${marks}/started`, `until [ -e ${marks}/go ]; do :; done`],
    });
    const installer = contextOf(store, python);
    const installing = toolchain.ensure(installer);
    await expect.poll(() => readdir(marks), { timeout: 30_000 }).toEqual(['started']);
    const busy = await failure(toolchain.remove(contextOf(store, python, { maxWaitMs: 0 })));
    expect(busy.code).toBe('BUSY');
    await writeFile(join(marks, 'go'), '');
    const { directory = '' } = await installing;
    await access(join(directory, '.complete'));
  });

  it('is refused while another process uses the environment, and goes on once it ended', async () => {
    const store = await temporaryStore();
    const python = await fakePython();
    const users = [contextOf(store, python), contextOf(store, python)];
    // Many may use it at once.
    for (const user of users) await toolchain.ensure(user);
    const busy = await failure(toolchain.remove(contextOf(store, python, { maxWaitMs: 0 })));
    expect([busy.code, busy.exitCode]).toEqual(['BUSY', 10]);
    const [environment = ''] = await environments(contextOf(store, python));
    await access(join(store.root, 'toolchains', environment, '.complete'));
    const removing = toolchain.remove(contextOf(store, python));
    for (const user of users) await user.end();
    expect((await removing).freedBytes).toBeGreaterThan(0);
    expect(await environments(contextOf(store, python))).toEqual([]);
  });
});

describe("a user's own interpreter", () => {
  /** Answers the question for packages with these versions. Its `site` is what installing changes. */
  async function ownPython(versions: Readonly<Record<string, string>>) {
    const directory = await temporaryDirectory();
    const site = join(directory, 'site-packages');
    await mkdir(site);
    const answers = join(directory, 'answers');
    const answer = async (found: Readonly<Record<string, string>>): Promise<void> =>
      writeFile(answers, JSON.stringify({ sitePackages: site, versions: found }));
    await answer(versions);
    const calls = join(directory, 'calls');
    await writeFile(calls, '');
    const python = await writeScript(join(directory, 'python'), `echo x >> ${calls}`, `cat ${answers}`);
    return {
      python,
      answer,
      change: () => writeFile(join(site, 'nncf-3.5.0.dist-info'), ''),
      starts: async () => (await readFile(calls, 'utf8')).split('\n').length - 1,
    };
  }

  function contextWith(store: Store, python: string): TestToolchainContext {
    return toolchainContext(store, { settings: { interpreters: { openvino: python }, install: 'never' } });
  }

  it('is used as it is, and asked for its versions once', async () => {
    const own = await ownPython({ openvino: '2026.3.0', nncf: '3.3.0' });
    const context = contextWith(await temporaryStore(), own.python);
    expect(await toolchain.ensure(context)).toEqual({ python: own.python });
    expect(await toolchain.status(context)).toEqual({
      state: 'external',
      directory: own.python,
      versions: { openvino: '2026.3.0', nncf: '3.3.0' },
    });
    expect(await own.starts()).toBe(1);
  });

  it('is asked again when packages changed, which is another conversion key', async () => {
    const own = await ownPython({ openvino: '2026.3.0', nncf: '3.3.0' });
    const context = contextWith(await temporaryStore(), own.python);
    const before = await toolchain.digest(context);
    expect(await toolchain.digest(context)).toBe(before);
    await own.answer({ openvino: '2026.3.0', nncf: '3.5.0' });
    expect(await toolchain.digest(context)).toBe(before);
    await own.change();
    expect(await toolchain.digest(context)).not.toBe(before);
    const managed = toolchainContext(await temporaryStore());
    expect(await toolchain.digest(managed)).not.toBe(before);
  });

  it('that lacks openvino is refused with what to install', async () => {
    const own = await ownPython({ nncf: '3.3.0' });
    const context = contextWith(await temporaryStore(), own.python);
    const error = await failure(toolchain.ensure(context));
    expect(error.exitCode).toBe(9);
    expect(error.message).toBe(`${own.python} lacks the Python package openvino`);
    expect(error.hint).toContain(`${own.python} -m pip install openvino nncf`);
    expect(await toolchain.status(context)).toMatchObject({ state: 'broken', reason: error.message });
  });

  it('that does not run is named with its setting', async () => {
    const context = contextWith(await temporaryStore(), '/absent/python');
    const error = await failure(toolchain.ensure(context));
    expect(error.code).toBe('TOOLCHAIN');
    expect(error.message).toContain('/absent/python');
    expect(error.hint).toContain('`toolchains.interpreters.openvino`');
  });
});
