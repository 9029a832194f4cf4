/** `modeldl doctor` as a user runs it, each state against what brings it about. */
import { chmod, chown, mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/results.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeScript } from '../helpers/interpreter.js';
import { canMount, canMountExfat, exfatDisk, smallDisk, withReadOnly } from '../helpers/mounts.js';
import { canRunAs, createWorld, type StartOptions, type World } from '../helpers/program.js';
import { whereKernelHas } from '../helpers/require.js';
import { expectNowhere } from '../helpers/secrets.js';
import { selfSigned } from '../transfer/certificate.js';
import { createWorld as createServers } from '../transfer/faults.js';

const TOKEN = 'hf_aTokenThatIsLongEnough';
const NOBODY = 65534;

const servers = createServers();
let hub: HfHub;
let world: World;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/open', files: { 'config.json': '{}' } },
      { id: 'org/gated', gated: { kind: 'manual', granted: ['ann'] }, files: { 'config.json': '{}' } },
    ],
    tokens: [
      { token: TOKEN, user: 'ann', role: 'read' },
      { token: 'hf_anotherTokenOfSomebody', user: 'bob', role: 'read' },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint, SSL_CERT_FILE: '', NODE_EXTRA_CA_CERTS: '' });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
  await servers.close();
});

type Checks = ReadonlyMap<string, DoctorReport['checks'][number]>;

interface Looked {
  readonly exitCode: number;
  readonly checks: Checks;
  readonly document: Readonly<Record<string, unknown>>;
  readonly said: string;
}

async function look(options: StartOptions, ...words: readonly string[]): Promise<Looked> {
  const { exitCode, stdout, stderr } = await world.start(options, 'doctor', ...words, '--json').done;
  const document = JSON.parse(stdout) as Record<string, unknown> & DoctorReport;
  const checks = new Map(document.checks.map((check) => [check.name, check]));
  expect(checks.size).toBe(document.checks.length);
  return { exitCode, checks, document, said: stdout + stderr };
}

const lookWith = (
  environment: Readonly<Record<string, string>>,
  ...words: readonly string[]
): Promise<Looked> => look({ environment }, ...words);

/** Every path below a directory. */
async function all(directory: string): Promise<readonly string[]> {
  return (await readdir(directory, { recursive: true })).sort();
}

describe('hubs', () => {
  it('one that answers, with a token that it knows, is well, and the token is shown nowhere', async () => {
    const { exitCode, checks, document, said } = await lookWith({ HF_TOKEN: TOKEN }, 'hf');
    expect([exitCode, document['ok']]).toEqual([0, true]);
    expect(checks.get('network.hf')).toMatchObject({
      status: 'ok',
      facts: { status: 200, address: hub.endpoint },
    });
    expect(checks.get('credentials.hf')).toMatchObject({
      status: 'ok',
      message: 'Hugging Face: ann, scope read, by the environment variable HF_TOKEN',
      facts: { user: 'ann', scope: 'read' },
    });
    expect([...checks.keys()].sort()).toEqual(['credentials.hf', 'network.hf']);
    expectNowhere([TOKEN], [{ name: 'what was said', content: said }]);
  });

  it('a token that it refuses is a failure that names its source', async () => {
    const { exitCode, checks, said } = await lookWith({ HF_TOKEN: 'hf_thisOneIsKnownToNobody' }, 'hf');
    expect(exitCode).toBe(1);
    expect(checks.get('network.hf')?.status).toBe('ok');
    const { status, message, fix } = checks.get('credentials.hf') ?? {};
    expect([status, `${message} ${fix}`]).toEqual(['failed', expect.stringContaining('HF_TOKEN')]);
    expectNowhere(['hf_thisOneIsKnownToNobody'], [{ name: 'what was said', content: said }]);
  });

  it('one that fails is told as every other failure is, with exit code 1', async () => {
    hub.addFault({ kind: { status: 503 } });
    const { exitCode, document } = await look({}, 'hf');
    expect(exitCode).toBe(1);
    expect(document).toMatchObject({
      ok: false,
      error: {
        code: 'FAILED_CHECK',
        exitCode: 1,
        check: 'network.hf',
        message: expect.stringContaining('503') as string,
      },
      counts: { failed: 1 },
    });
  });

  it('one that never answers holds nobody, and says how to wait longer', async () => {
    hub.addFault({ kind: { never: true } });
    const { checks } = await look({}, 'hf', 'cache', '--timeout', '700ms');
    expect(checks.get('network.hf')).toMatchObject({
      status: 'failed',
      message: 'Hugging Face: no answer in 0.7 s',
      fix: expect.stringContaining('--timeout') as string,
    });
    expect(checks.get('cache.links')?.status).toBe('ok');
  });

  it('one may be given longer than a timer of Node.js takes', async () => {
    const { exitCode, checks } = await look({}, 'hf', '--timeout', '30d');
    expect([exitCode, checks.get('network.hf')?.status]).toEqual([0, 'ok']);
  });

  it('one that is away is no failure while a mirror stands for it', async () => {
    const mirror = await servers.serve((_request, response) => response.end());
    const gone = await servers.serve((_request, response) => response.end());
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    const config = { hubs: { hf: { mirrors: [mirror.origin] } } };
    await writeFile(join(world.directory, '.config/modeldl/config.json'), JSON.stringify(config));
    const dead = 'http://127.0.0.1:1';
    const { exitCode, checks } = await lookWith({ HF_ENDPOINT: dead }, 'hf');
    expect(exitCode).toBe(0);
    expect(checks.get('network.hf')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('127.0.0.1:1: it refused the connection; other sources') as string,
    });
    expect(checks.get('network.hf.mirror')?.status).toBe('ok');
    expect(gone.requests).toHaveLength(0);
  });

  it('a clock that is a day behind is told, by the server that is nearest to it', async () => {
    const ahead = new Date(Date.now() + 86_400_000).toUTCString();
    const server = await servers.serve((_request, response) => response.setHeader('date', ahead).end());
    const { exitCode, checks } = await lookWith(nowhere({ HF_ENDPOINT: server.origin }), 'network');
    expect(exitCode).toBe(1);
    expect(checks.get('network.clock')).toMatchObject({
      status: 'failed',
      message: expect.stringMatching(/^The clock is 24 hours behind that of http/) as string,
      fix: expect.stringContaining('timedatectl') as string,
    });
  });

  it('are not asked offline, and who forbids it is named', async () => {
    const byFlag = await look({}, 'network', 'credentials', 'hf:org/open', '--offline');
    const byVariable = await lookWith({ HF_HUB_OFFLINE: '1', HF_TOKEN: TOKEN }, 'network', 'credentials');
    expect([byFlag.exitCode, byVariable.exitCode]).toEqual([0, 0]);
    expect(byFlag.checks.get('network')?.message).toBe('Nobody is asked: `--offline`');
    expect(byFlag.checks.get('models.hf:org/open')?.status).toBe('skipped');
    expect(byVariable.checks.get('network')?.message).toContain('environment variable HF_HUB_OFFLINE');
    expect(byVariable.checks.get('credentials.hf')).toMatchObject({
      status: 'skipped',
      message: expect.stringContaining('the environment variable HF_TOKEN') as string,
    });
    expect(hub.requests).toHaveLength(0);
  });

  it.each([
    ['oci', 'network.oci', 'OCI registries: has no server of its own; '],
    ['geti', 'network.geti', 'Intel Geti: no server is set'],
  ])('%s has no server to ask, which is said', async (hub, name, message) => {
    const { exitCode, checks } = await look({}, hub);
    expect(exitCode).toBe(0);
    expect(checks.get(name)).toMatchObject({
      status: 'skipped',
      message: expect.stringContaining(message) as string,
    });
  });

  it('an interruption ends it', async () => {
    hub.addFault({ kind: { never: true } });
    const run = world.start({}, 'doctor', 'hf', '--timeout', '5m');
    await hub.stuck();
    run.signal('SIGINT');
    const { exitCode, stderr } = await run.done;
    expect([exitCode, stderr]).toEqual([130, expect.stringContaining('error: Interrupted')]);
  });
});

/** No hub but those named answers, and nothing leaves this machine. */
function nowhere(environment: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const dead = 'http://127.0.0.1:1';
  return {
    HTTPS_PROXY: dead,
    NO_PROXY: '127.0.0.1',
    npm_config_registry: `${dead}/npm`,
    PIP_INDEX_URL: `${dead}/simple`,
    ...environment,
  };
}

describe('the way to hubs', () => {
  const SECRET = 'secretOfTheProxy';
  const behind = async (
    answer: 'open' | number,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Looked> => {
    const proxy = await servers.proxy(answer);
    const address = proxy.origin.replace('//', `//me:${SECRET}@`);
    const looked = await lookWith(
      { HF_ENDPOINT: 'https://models.example', HTTPS_PROXY: address, ...environment },
      'network',
      '--timeout',
      '4s',
    );
    expectNowhere([SECRET], [{ name: 'what was said', content: looked.said }]);
    return looked;
  };

  it.each([
    [403, /^Hugging Face: Cannot reach models\.example: the proxy 127\.0\.0\.1:\d+ answered 403$/],
    [407, /^Hugging Face: Cannot reach models\.example: the proxy 127\.0\.0\.1:\d+ wants a login$/],
    [502, /^Hugging Face: Cannot reach models\.example: the proxy 127\.0\.0\.1:\d+ answered 502$/],
  ])('a proxy that answers %i is what is named, and not the hub', async (status, message) => {
    const { exitCode, checks } = await behind(status);
    expect(exitCode).toBe(1);
    expect(checks.get('network.proxy.https')?.status).toBe('ok');
    const found = checks.get('network.hf');
    expect(found).toMatchObject({ status: 'failed', message: expect.stringMatching(message) as string });
    expect(found?.fix).toMatch(/proxy|HTTPS_PROXY/);
  });

  it('a proxy that does not answer, and one whose address is none', async () => {
    const dead = await lookWith(nowhere(), 'network');
    expect(dead.checks.get('network.proxy.https')).toMatchObject({
      status: 'failed',
      message: expect.stringMatching(
        /^The proxy for https does not answer, 127\.0\.0\.1:1: .*ECONNREFUSED/,
      ) as string,
      fix: expect.stringContaining('HTTPS_PROXY') as string,
    });
    const none = await lookWith({ HTTPS_PROXY: `socks5://me:${SECRET}@127.0.0.1:1` }, 'network');
    expect(none.exitCode).toBe(1);
    expect(none.checks.get('network.proxy')?.message).toContain('Not an http or https proxy');
    expectNowhere([SECRET], [{ name: 'what was said', content: none.said }]);
  });

  it('a private authority: missing, expired, and right', async () => {
    const own = await selfSigned('IP:127.0.0.1');
    const server = await servers.serve((_request, response) => response.end(), own);
    const file = join(world.directory, 'ca.pem');
    const ask = (environment: Readonly<Record<string, string>>): Promise<Looked> =>
      lookWith(nowhere({ HF_ENDPOINT: server.origin, ...environment }), 'network');

    const without = await ask({});
    expect(without.checks.get('network.hf')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('DEPTH_ZERO_SELF_SIGNED_CERT') as string,
      fix: expect.stringContaining('`caFile`') as string,
    });

    const ignored = await ask({ NODE_TLS_REJECT_UNAUTHORIZED: '0' });
    expect(ignored.checks.get('network.hf')?.message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT');

    await writeFile(file, own.cert);
    const given = await ask({ SSL_CERT_FILE: file });
    expect(given.checks.get('network.hf')?.status).toBe('ok');
    expect(given.checks.get('network.certificates')?.message).toContain(`1 certificate in ${file}`);

    await writeFile(file, (await selfSigned('DNS:elsewhere.example', -1)).cert);
    const expired = await ask({ SSL_CERT_FILE: file });
    expect(expired.checks.get('network.certificates')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('has expired on') as string,
      fix: expect.stringContaining('`SSL_CERT_FILE`') as string,
    });

    const absent = await ask({ SSL_CERT_FILE: `${file}.none` });
    expect(absent.checks.get('network.certificates')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining(`${file}.none`) as string,
    });
    // Nobody can be asked then: that is said once, and not of every hub.
    expect(absent.checks.get('network.hf')?.status).toBe('skipped');
  });
});

describe('a model', () => {
  it('that is open, gated for others, and gated for this user', async () => {
    const anonymous = await look({}, 'hf:org/open', 'org/gated');
    expect(anonymous.exitCode).toBe(1);
    expect(anonymous.checks.get('models.hf:org/open')).toMatchObject({ status: 'ok', facts: { files: 1 } });
    expect(anonymous.checks.get('models.hf:org/gated')).toMatchObject({
      status: 'failed',
      fix: expect.stringContaining('modeldl login hf') as string,
    });

    const stranger = await lookWith({ HF_TOKEN: 'hf_anotherTokenOfSomebody' }, 'hf:org/gated');
    expect(stranger.checks.get('models.hf:org/gated')).toMatchObject({
      status: 'failed',
      facts: { code: 'GATED' },
    });

    const granted = await lookWith({ HF_TOKEN: TOKEN }, 'hf:org/gated');
    expect(granted.exitCode).toBe(0);
    expect(granted.checks.get('models.hf:org/gated')?.message).toContain(
      'gated, and open to the environment variable HF_TOKEN',
    );
    expect([...granted.checks.keys()]).toEqual(['models.hf:org/gated']);
  });

  it('that is not there', async () => {
    const { exitCode, checks } = await lookWith({ HF_TOKEN: TOKEN }, 'hf:org/none');
    expect([exitCode, checks.get('models.hf:org/none')?.facts['code']]).toEqual([1, 'NOT_FOUND']);
  });
});

describe('the address of a hub that is none', () => {
  it('is told of that hub, and keeps nobody from another one', async () => {
    const environment = { GETI_HOST: 'https://me:secret@geti.example', GETI_TOKEN: 'tokenOfGeti' };
    const { exitCode, checks, said } = await lookWith(environment, 'geti', 'hf:org/open');
    expect(exitCode).toBe(1);
    expect(checks.get('models.hf:org/open')?.status).toBe('ok');
    expect(checks.get('network.geti')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('GETI_HOST') as string,
    });
    expectNowhere(['me:secret', 'tokenOfGeti'], [{ name: 'what was said', content: said }]);
    expect((await world.runWith(environment, 'pull', 'hf:org/open')).exitCode).toBe(0);
    const own = await world.runWith(environment, 'show', 'geti:project/model');
    expect([own.exitCode, own.stderr]).toEqual([2, expect.stringContaining('GETI_HOST')]);
  });
});

describe('the configuration', () => {
  const project = (text: string): Promise<void> =>
    writeFile(join(world.directory, 'modeldl.config.json'), text);

  it.each([
    ['{ "jobs": ', /^Cannot parse the configuration file: /, /correct the JSON/],
    ['{ "jbos": 2 }', /^Unknown key `jbos` in /, /nearest known key is `jobs`/],
    ['{ "hubs": { "hf": { "mirrors": ["https://m.example"] } } }', /not trusted yet/, /modeldl config trust/],
  ])('%s is a failure, and the other checks go on', async (text, message, fix) => {
    await project(text);
    const { exitCode, checks } = await look({}, 'configuration', 'cache');
    expect(exitCode).toBe(1);
    const found = checks.get('configuration.files');
    expect(found).toMatchObject({ status: 'failed', message: expect.stringMatching(message) as string });
    expect(found?.fix).toMatch(fix);
    expect(found?.message).toContain('modeldl.config.json');
    expect(checks.get('cache.links')?.status).toBe('ok');
  });

  it('all that is broken is told at once', async () => {
    await project('[]');
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    await writeFile(join(world.directory, '.config/modeldl/config.yaml'), 'jobs: {');
    const { document, exitCode } = await lookWith({ MODELDL_ADOPT: 'perhaps' }, 'configuration');
    const errors = document['errors'] as readonly { readonly message: string }[];
    expect(exitCode).toBe(1);
    expect(errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('config.yaml'),
      expect.stringContaining('modeldl.config.json'),
      expect.stringContaining('`MODELDL_ADOPT`'),
    ]);
  });

  it('a file that was named and is not there', async () => {
    const { exitCode, checks } = await look({}, 'configuration', '--config', 'none.json');
    expect([exitCode, checks.get('configuration.files')?.fix]).toEqual([
      1,
      expect.stringContaining('--config'),
    ]);
  });

  it('a plugin that cannot be loaded, and one that is not trusted', async () => {
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    await writeFile(join(world.directory, '.config/modeldl/broken.js'), 'throw new Error("of the plugin");');
    await writeFile(join(world.directory, '.config/modeldl/config.json'), '{ "plugins": ["./broken.js"] }');
    const loaded = await look({}, 'configuration');
    expect(loaded.checks.get('configuration.plugins../broken.js')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('of the plugin') as string,
    });
    await writeFile(join(world.directory, 'own.js'), 'process.exit(9);');
    await project('{ "plugins": ["./own.js"] }');
    const untrusted = await look({}, 'configuration');
    expect(untrusted.exitCode).toBe(1);
    expect(untrusted.checks.get('configuration.plugins../own.js')).toMatchObject({
      status: 'warning',
      fix: expect.stringContaining('modeldl config trust') as string,
    });
  });

  it.each<readonly [Readonly<Record<string, string>>, string]>([
    [{ https_proxy: 'http://a:1', HTTPS_PROXY: 'http://b:1' }, '`https_proxy` and `HTTPS_PROXY` differ'],
    [
      { HF_TOKEN: 'one', HUGGING_FACE_HUB_TOKEN: 'two' },
      '`HF_TOKEN` and `HUGGING_FACE_HUB_TOKEN` differ, and `HF_TOKEN` counts',
    ],
    [{ HTTP_PROXY: 'http://a:1' }, 'A proxy is set for http alone'],
    [{ HTTPS_PROXY: 'http://a:1', NO_PROXY: '*' }, '`NO_PROXY` is `*`'],
    [{ HF_HUB_OFFLINE: '1' }, '`HF_HUB_OFFLINE` is set'],
    [{ HF_HUB_OFFLINE: '1', MODELDL_OFFLINE: '0' }, '`MODELDL_OFFLINE` and `HF_HUB_OFFLINE` differ'],
    [{ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, '`NODE_TLS_REJECT_UNAUTHORIZED=0` is ignored'],
    [{ XDG_CACHE_HOME: 'cache' }, '`XDG_CACHE_HOME` is not absolute'],
    [{ HOME: '' }, '`HOME` is not set'],
  ])('variables that contradict each other: %j', async (environment, message) => {
    const { exitCode, checks } = await lookWith(environment, 'configuration');
    const warnings = [...checks.values()].filter(({ status }) => status === 'warning');
    expect([exitCode, warnings.map((check) => check.message)]).toEqual([
      0,
      [expect.stringContaining(message)],
    ]);
  });

  it('variables that agree are no warning', async () => {
    const { checks } = await lookWith(
      { https_proxy: 'http://a:1', HTTPS_PROXY: 'http://a:1' },
      'configuration',
    );
    expect(checks.get('configuration.environment')?.status).toBe('ok');
  });
});

describe('the cache', () => {
  it('is left as it was, and not made where there is none', async () => {
    const before = await all(world.directory);
    const fresh = await look({}, 'cache');
    expect([fresh.exitCode, await all(world.directory)]).toEqual([0, before]);
    expect(fresh.checks.get('cache.place')?.message).toContain('is not there yet');

    await world.run('pull', 'hf:org/open');
    const filled = await all(world.directory);
    const after = await look({}, 'cache', 'toolchains', 'machine', 'hf:org/open');
    expect([after.exitCode, await all(world.directory)]).toEqual([0, filled]);
    expect(after.checks.get('cache.place')?.status).toBe('ok');
  });

  it('that is a file', async () => {
    await writeFile(world.cacheDir, '');
    const { exitCode, checks } = await look({}, 'cache');
    expect(exitCode).toBe(1);
    expect(checks.get('cache.place')).toMatchObject({
      status: 'failed',
      message: `The cache path is not a directory: ${world.cacheDir}`,
    });
  });

  it('where no directory can be made', async () => {
    const { exitCode, checks } = await look({}, 'cache', '--cache-dir', '/proc/modeldl');
    expect([exitCode, checks.get('cache.place')?.message]).toEqual([
      1,
      expect.stringMatching(/^\/proc\/modeldl is not there and cannot be made: /),
    ]);
    expect(checks.get('cache.place')?.facts['source']).toBe('`--cache-dir`');
  });

  it('that a later modeldl wrote', async () => {
    await world.run('pull', 'hf:org/open');
    await mkdir(join(world.cacheDir, 'v2'));
    const beside = await look({}, 'cache');
    expect(beside.checks.get('cache.format')).toMatchObject({ status: 'warning', fix: 'update modeldl' });

    const records = join(world.cacheDir, 'v1/records/hf');
    const newer = join(records, 'org--other', 'main.json');
    await mkdir(dirname(newer), { recursive: true });
    await writeFile(newer, JSON.stringify({ version: 2 }));
    const inside = await look({}, 'cache');
    expect(inside.exitCode).toBe(1);
    expect(inside.checks.get('cache.leftovers')).toMatchObject({
      status: 'failed',
      message: `A newer modeldl wrote this: ${newer}`,
    });
  });

  it('leftovers are told with their size and what removes them', async () => {
    await world.run('pull', 'hf:org/open');
    const blob = join(world.cacheDir, 'v1/tmp/left');
    await writeFile(blob, Buffer.alloc(3 * 1024 ** 2));
    const old = new Date(Date.now() - 7_200_000);
    await utimes(blob, old, old);
    const { checks } = await look({}, 'cache');
    expect(checks.get('cache.leftovers')).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('3 MiB unused') as string,
      fix: expect.stringContaining('modeldl prune') as string,
      facts: { leftovers: 1 },
    });
  });

  it('on a file system where claims do not hold', async () => {
    // As the tests of the store have it: every step that decides about a claim succeeds.
    const preload = fileURLToPath(new URL('../stress/preloads/lying-claims.mjs', import.meta.url));
    const { exitCode, checks } = await lookWith({ NODE_OPTIONS: `--import=${preload}` }, 'cache');
    expect(exitCode).toBe(1);
    expect(checks.get('cache.claims')).toMatchObject({
      status: 'failed',
      message: 'Claims do not hold here: two processes can claim the same',
      fix: expect.stringContaining('run one modeldl at a time') as string,
    });
  });

  const asNobody = whereKernelHas('to run as another user', canRunAs(NOBODY));

  asNobody('of another user', async () => {
    await world.run('pull', 'hf:org/open');
    const before = await all(world.directory);
    const { exitCode, checks } = await look({ uid: NOBODY }, 'cache');
    expect(exitCode).toBe(1);
    expect(checks.get('cache.place')).toMatchObject({
      status: 'failed',
      message: expect.stringMatching(/may not be .*|cannot be looked at/) as string,
    });
    expect(checks.get('cache.place')?.fix).toContain('--cache-dir');
    expect(await all(world.directory)).toEqual(before);
  });

  asNobody('one directory of it belongs to another user, as after sudo', async () => {
    await chmod(world.directory, 0o755);
    await mkdir(join(world.cacheDir, 'v1/blobs'), { recursive: true });
    await chown(world.cacheDir, NOBODY, NOBODY);
    await chown(join(world.cacheDir, 'v1'), NOBODY, NOBODY);
    const { checks } = await look({ uid: NOBODY }, 'cache');
    expect(checks.get('cache.place')).toMatchObject({
      status: 'failed',
      message: `${join(world.cacheDir, 'v1/blobs')} may not be written to: it belongs to user 0, and this is ${NOBODY}`,
      fix: expect.stringContaining('chown') as string,
    });
  });

  /** The command that a fix begins with, carried out by the shell that it is for. */
  async function carriedOut(fix: string | null | undefined, uid?: number): Promise<void> {
    const [, command = ''] = /^`(.+?)`/.exec(fix ?? '') ?? [];
    expect(command).not.toBe('');
    // Root needs no sudo, which a container may lack.
    const own = uid === undefined ? {} : { uid, gid: uid };
    await execa('sh', ['-c', command.replace(/^sudo /, '')], { cwd: world.directory, ...own });
  }

  for (const [what, below, mode, owner, repairer] of [
    ['a directory within it is another user’s', 'v1/models/hf', 0o755, 0, undefined],
    ['the modes forbid it', 'v1/blobs/sha256', 0o555, NOBODY, NOBODY],
    ['it is an empty volume of another user', '', 0o755, 0, undefined],
  ] as const)
    asNobody(`${what}, and what is named puts it right`, async () => {
      await chmod(world.directory, 0o755);
      const cacheDir = join(world.directory, "a user's cache");
      const place = join(cacheDir, below);
      await mkdir(place, { recursive: true });
      await execa('chown', ['-R', String(NOBODY), cacheDir]);
      await chown(place, owner, owner);
      await chmod(place, mode);
      const asked = { uid: NOBODY, environment: { MODELDL_CACHE_DIR: cacheDir } };
      const before = await look(asked, 'cache');
      const found = before.checks.get('cache.place');
      expect(found).toMatchObject({
        status: 'failed',
        message: expect.stringContaining(`${place} may not be written to`) as string,
      });
      await carriedOut(found?.fix, repairer);
      const after = await look(asked, 'cache');
      expect([after.exitCode, after.checks.get('cache.place')?.status]).toEqual([0, 'ok']);
    });

  const mounted = whereKernelHas('mounts', canMount);

  mounted('on a disk without space', async () => {
    const { directory } = await smallDisk('size=8M');
    const { exitCode, checks } = await lookWith({ MODELDL_CACHE_DIR: directory }, 'cache');
    expect(exitCode).toBe(1);
    expect(checks.get('cache.space')).toMatchObject({
      status: 'failed',
      message: expect.stringMatching(/^Not enough space for the cache in /) as string,
      fix: expect.stringContaining('modeldl prune') as string,
    });
    expect(await all(directory)).toEqual([]);
  });

  mounted('on a disk without inodes', async () => {
    const disk = await smallDisk('size=64M,nr_inodes=20');
    await world.runWith({ MODELDL_CACHE_DIR: disk.directory }, 'pull', 'hf:org/open');
    for (let at = 0; at < 30; at += 1) {
      const made = await writeFile(join(disk.directory, `fill-${at}`), '').then(
        () => true,
        () => false,
      );
      if (!made) break;
    }
    const { exitCode, checks } = await lookWith({ MODELDL_CACHE_DIR: disk.directory }, 'cache');
    expect(exitCode).toBe(1);
    expect(checks.get('cache.space')?.message).toContain('no inodes left');
    expect(checks.get('cache.links')?.status).toBe('skipped');
  });

  mounted('that is mounted read-only', async () => {
    await world.run('pull', 'hf:org/open');
    const { exitCode, checks } = await look({ under: withReadOnly(world.cacheDir) }, 'cache');
    expect(exitCode).toBe(0);
    expect(checks.get('cache.place')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('is read-only: what is stored can be used') as string,
    });
    expect(checks.get('cache.claims')?.status).toBe('skipped');
  });

  mounted('where no program runs', async () => {
    const { directory } = await smallDisk('size=512M,noexec');
    const { checks } = await lookWith(
      { MODELDL_CACHE_DIR: directory, TMPDIR: directory },
      'cache',
      'machine',
    );
    expect(checks.get('cache.programs')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('`noexec`') as string,
    });
    expect(checks.get('machine.temporary')?.message).toContain('mounted `noexec`');
    expect(checks.get('cache.file-system')?.facts).toMatchObject({ type: 'tmpfs', mountedAt: directory });
  });

  whereKernelHas('exFAT', canMount && canMountExfat)('on exFAT, which has no links', async () => {
    const { directory } = await exfatDisk();
    const { exitCode, checks } = await lookWith({ MODELDL_CACHE_DIR: directory }, 'cache');
    expect(exitCode).toBe(0);
    expect(checks.get('cache.links')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('every model takes its space twice') as string,
      facts: { reflink: false, hardlink: false, symlink: false },
    });
    expect(checks.get('cache.claims')?.status).toBe('ok');
    expect(checks.get('cache.names')?.facts).toMatchObject({ caseSensitive: false });
    expect(await all(directory)).toEqual([]);
  });
});

describe('programs', () => {
  it('no Python at all: models are pulled all the same', async () => {
    const { exitCode, checks } = await lookWith({ PATH: '/nonexistent' }, 'programs', 'toolchains');
    expect(exitCode).toBe(0);
    expect(checks.get('programs.python')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('none was found') as string,
      fix: expect.stringContaining('apt-get install python3') as string,
    });
    expect(checks.get('programs.uv')?.status).toBe('skipped');
    expect(checks.get('toolchains.openvino')).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('cannot be installed') as string,
    });
  });

  it('a Python without venv, as Debian has it, and a uv', async () => {
    const bin = join(world.directory, 'bin');
    await writeScript(
      join(bin, 'python3'),
      'case "$*" in',
      '*get_platform*) echo 3.11.9 linux-x86_64;;',
      `*) echo /usr/bin/python3; echo "ModuleNotFoundError: No module named 'ensurepip'" >&2; exit 1;;`,
      'esac',
    );
    await writeScript(join(bin, 'uv'), 'echo uv 0.9.1');
    const { checks } = await lookWith({ PATH: `${bin}:/usr/bin:/bin` }, 'programs');
    expect(checks.get('programs.python')?.message).toBe('Python 3.11.9 (/usr/bin/python3)');
    expect(checks.get('programs.venv')).toMatchObject({
      status: 'warning',
      message: "/usr/bin/python3 cannot make environments: ModuleNotFoundError: No module named 'ensurepip'",
      fix: 'install the venv module: `apt-get install python3-venv`',
    });
    expect(checks.get('programs.uv')).toMatchObject({ status: 'ok', facts: { version: '0.9.1' } });
  });

  it('an interpreter of the user’s own that is gone', async () => {
    const config = { toolchains: { interpreters: { openvino: '/nonexistent/python' } } };
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    await writeFile(join(world.directory, '.config/modeldl/config.json'), JSON.stringify(config));
    const { exitCode, checks } = await look({}, 'toolchains');
    expect(exitCode).toBe(1);
    expect(checks.get('toolchains.openvino')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('/nonexistent/python') as string,
      fix: expect.stringContaining('toolchains.interpreters.openvino') as string,
    });
  });
});

describe('the command line', () => {
  it('prints a line for each check, the fix below it, and only failures when it is quiet', async () => {
    await writeFile(world.cacheDir, '');
    const { stdout, stderr, exitCode } = await world.run('doctor', 'cache', '--color', 'never');
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(
      /^cache\n {2}failed +place +The cache path is not a directory: .*\n +fix: choose another/,
    );
    expect(stderr).toMatch(/^1 failed, 0 warnings, \d+ ok, \d+ skipped$/m);
    const quiet = await world.run('doctor', 'cache', '--quiet');
    expect(quiet).toEqual({ exitCode: 1, stdout: 'cache.place', stderr: '' });
  });

  it.each([
    [['netwrok'], 'Nothing to look at: netwrok', 'did you mean `network`'],
    [[''], 'Nothing to look at: ', 'expected one of programs, machine'],
    [['hf', '--timeout', '0s'], 'Expected a time above 0 for --timeout', '--timeout 10s'],
    [['hf:'], '', ''],
  ])('%j exits 2', async (words, message, hint) => {
    const { exitCode, stdout, stderr } = await world.run('doctor', ...words);
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
  });

  it('looks at everything when nothing is named', async () => {
    const { checks } = await lookWith(nowhere({ HF_HUB_OFFLINE: '1' }));
    const topics = new Set([...checks.values()].map(({ topic }) => topic));
    expect([...topics]).toEqual([
      'programs',
      'machine',
      'configuration',
      'cache',
      'toolchains',
      'network',
      'credentials',
    ]);
  });
});
