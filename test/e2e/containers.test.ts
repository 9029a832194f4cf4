/** The examples for containers, built and run; and modeldl in them: users, memory, disks, signals and secrets. */
import { createHash } from 'node:crypto';
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { CORE_SCHEMA, load } from 'js-yaml';
import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest';
import { HAVE_CONTAINERS, startContainers, withContainers, type Containers } from '../helpers/containers.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EXAMPLES = join(ROOT, 'examples');

const MODELDL = 'localhost/modeldl:test';
const CONVERTING = 'localhost/modeldl-converting:test';
/** Reads what a model server is told to serve, says what it found and ends. */
const SERVER = 'localhost/stand-in-server:test';
const SERVER_PROGRAM = `
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
const file = process.argv[process.argv.indexOf('--config_path') + 1];
for (const { config } of JSON.parse(readFileSync(file, 'utf8')).model_config_list) {
  const model = join(dirname(file), config.base_path);
  const weights = readFileSync(join(model, 'openvino_model.bin'));
  const graph = readFileSync(join(model, 'graph.pbtxt'), 'utf8').includes('models_path');
  console.log('serving', config.name, createHash('sha256').update(weights).digest('hex'), graph, process.getuid());
}
`;

const TOKEN = 'hf_secretsecretsecretsecret';
const WEIGHTS = Buffer.alloc(9 * 1024 * 1024, 'weights');
const SERVED = `serving Qwen3-8B-int4-ov ${createHash('sha256').update(WEIGHTS).digest('hex')} true`;

/** Debian, Node.js and all packages of development, on a machine that has none of them. */
const PREPARE_MS = 3_600_000;
const TEST_MS = 300_000;

let containers: Containers;
/** Built beside the first tests, which do not need it. */
let converting: Promise<void> = Promise.resolve();
let python: string;
let hub: HfHub;
let directory: string;
let token: string;

beforeAll(async () => {
  if (!HAVE_CONTAINERS) return;
  directory = await mkdtemp(join(tmpdir(), 'modeldl-container-test-'));
  hub = await startHfHub({
    tokens: [{ token: TOKEN, user: 'somebody' }],
    repos: [
      {
        id: 'OpenVINO/Qwen3-8B-int4-ov',
        privateTo: ['somebody'],
        files: {
          'config.json': '{}',
          'openvino_config.json': '{"dtype":"int4"}',
          'openvino_model.xml': '<net/>',
          'openvino_model.bin': WEIGHTS,
          'openvino_tokenizer.xml': '<net/>',
          'openvino_detokenizer.xml': '<net/>',
        },
      },
      { id: 'org/open', files: { 'config.json': '{}', 'model.safetensors': WEIGHTS } },
      { id: 'org/onnx', files: { 'model.onnx': WEIGHTS } },
    ],
  });
  token = join(directory, 'token');
  await writeFile(token, `${TOKEN}\n`, { mode: 0o600 });
  containers = await startContainers();
  const secrets: Record<string, string> = { npmrc: join(directory, 'npmrc') };
  const { NODE_EXTRA_CA_CERTS: certificates } = process.env;
  if (certificates !== undefined) secrets['ca'] = certificates;
  await writeFile(
    join(directory, 'npmrc'),
    await npmConfiguration(certificates === undefined ? {} : { cafile: '/run/secrets/ca' }),
  );
  [python] = await Promise.all([containers.python(), buildModeldl(secrets), buildServer()]);
  converting = containers.build({
    file: join(EXAMPLES, 'docker', 'converting.Dockerfile'),
    context: join(EXAMPLES, 'docker'),
    tag: CONVERTING,
    args: { MODELDL },
  });
  converting.catch(() => undefined);
}, PREPARE_MS);

afterAll(async () => {
  if (!HAVE_CONTAINERS) return;
  await Promise.allSettled([converting]);
  await containers.remove();
  await hub.close();
  await rm(directory, { recursive: true, force: true });
}, TEST_MS);

beforeEach(() => {
  if (!HAVE_CONTAINERS) return;
  hub.clearFaults();
  hub.clearRequests();
});

function buildModeldl(secrets: Readonly<Record<string, string>>): Promise<void> {
  return containers.build({
    file: join(EXAMPLES, 'docker', 'modeldl.Dockerfile'),
    context: ROOT,
    tag: MODELDL,
    args: { BASE: containers.base },
    secrets,
  });
}

async function buildServer(): Promise<void> {
  const server = join(directory, 'server');
  await mkdir(server);
  await writeFile(join(server, 'server.mjs'), SERVER_PROGRAM);
  await writeFile(
    join(server, 'Dockerfile'),
    `FROM ${containers.base}\nCOPY server.mjs /\nUSER 5000:5000\nENTRYPOINT ["node", "/server.mjs"]\n`,
  );
  await containers.build({ file: join(server, 'Dockerfile'), context: server, tag: SERVER });
}

/** This machine's registry, where it has one of its own. */
async function npmConfiguration(more: Readonly<Record<string, string>>): Promise<string> {
  const { stdout } = await execa('npm', ['config', 'get', 'registry'], { cwd: directory });
  return Object.entries({ registry: stdout.trim(), ...more })
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');
}

/** Examples with their locks, by name. */
const locked = new Map<string, Promise<string>>();

/** A copy of an example with its lock. */
async function lockedExample(name: string): Promise<string> {
  const made = locked.get(name) ?? lockExample(name);
  locked.set(name, made);
  const project = await mkdtemp(join(directory, `${name}-`));
  await cp(await made, project, { recursive: true });
  hub.clearRequests();
  return project;
}

/** As `modeldl lock` in the image writes it. */
async function lockExample(name: string): Promise<string> {
  const project = join(directory, name);
  await cp(join(EXAMPLES, name), project, { recursive: true });
  const run = await containers.run(
    [
      ...['--user', '0:0', '--volume', `${project}:/work`, '--env', `HF_ENDPOINT=${hub.endpoint}`],
      ...['--volume', `${token}:/run/secrets/hf_token:ro`, '--env', 'HF_TOKEN_PATH=/run/secrets/hf_token'],
      ...['--tmpfs', '/cache'],
    ],
    MODELDL,
    'lock',
  );
  expect(run.exitCode, run.stderr).toBe(0);
  return project;
}

/** Files of an image, by what they hold: nothing of it may have a text. */
async function imageFilesWith(tag: string, text: string): Promise<string> {
  const { stdout: root } = await containers.podman('image', 'mount', tag);
  try {
    return (await execa('grep', ['-rlF', '--', text, root.trim()], { reject: false })).stdout;
  } finally {
    await containers.podman('image', 'unmount', tag);
  }
}

const bytesAsked = (): number =>
  hub.requests.reduce((sum, { server, bytes }) => sum + (server === 'cdn' ? bytes : 0), 0);
const yaml = (text: string): unknown => load(text, { schema: CORE_SCHEMA });
/** As an engine that gives no writable directories besides. */
const READ_ONLY = ['--read-only', '--read-only-tmpfs=false'];
const reach = (): readonly string[] => ['--env', `HF_ENDPOINT=${hub.endpoint}`];

describe('the image of modeldl', () => {
  withContainers(
    'runs modeldl as a user without rights, and has nothing of what made it',
    async () => {
      const { user, bytes } = await containers.image(MODELDL);
      expect(user).toBe('1000:1000');
      expect(bytes - (await containers.image(containers.base)).bytes).toBeLessThan(64 * 1024 * 1024);
      const run = await containers.run([], MODELDL, '--version');
      expect(run.stdout).toBe(await version());
      const inside = await containers.run(
        ['--entrypoint', 'sh'],
        MODELDL,
        '-c',
        'id -u; ls /src /opt/modeldl/node_modules/typescript',
      );
      expect(inside.stdout).toBe('1000');
      expect(inside.stderr).toContain('/src');
      expect(inside.stderr).toContain('/opt/modeldl/node_modules/typescript');
    },
    TEST_MS,
  );

  withContainers(
    'works on a read-only root with a volume for the cache, and then without network',
    async () => {
      const volume = [...READ_ONLY, '--volume', 'kept:/cache'];
      const pulled = await containers.run([...volume, ...reach()], MODELDL, 'pull', 'org/open');
      expect(pulled.exitCode, pulled.stderr).toBe(0);
      expect(pulled.stdout).toMatch(/^\/cache\/v1\/models\/hf\/org--open\/[0-9a-f]{12}$/);
      const offline = await containers.run(
        [...volume, '--network', 'none'],
        MODELDL,
        'pull',
        'org/open',
        '--prefer-offline',
      );
      expect(offline.stdout, offline.stderr).toBe(pulled.stdout);
      const mounted = await containers.run(
        [...READ_ONLY, '--volume', 'kept:/cache:ro'],
        MODELDL,
        'verify',
        '--json',
      );
      expect(JSON.parse(mounted.stdout)).toMatchObject({ ok: true, models: [{ ok: true }] });
    },
    TEST_MS,
  );

  withContainers(
    'works for a user that it does not know, of the group 0 as some clusters have it',
    async () => {
      const options = [...READ_ONLY, '--user', '4242:0', '--volume', 'unknown:/cache', ...reach()];
      const run = await containers.run(options, MODELDL, 'pull', 'org/open');
      expect(run.exitCode, run.stderr).toBe(0);
    },
    TEST_MS,
  );

  withContainers(
    'without a place for the cache says so before it asks for bytes',
    async () => {
      const run = await containers.run([...READ_ONLY, ...reach()], MODELDL, 'pull', 'org/open');
      expect(run.exitCode, run.stderr).toBe(7);
      expect(run.stderr).toContain('/cache');
      expect(run.stderr).toContain('read-only');
      expect(bytesAsked()).toBe(0);
    },
    TEST_MS,
  );

  withContainers(
    'in a tmpfs that is too small refuses before it asks for bytes',
    async () => {
      const run = await containers.run(
        ['--tmpfs', '/cache:size=4m', ...reach()],
        MODELDL,
        'pull',
        'org/open',
      );
      expect(run.exitCode, run.stderr).toBe(7);
      expect(run.stderr).toContain('/cache');
      expect(bytesAsked()).toBe(0);
    },
    TEST_MS,
  );

  withContainers(
    'as the first process of a container ends when it is stopped, and goes on afterwards',
    async () => {
      hub.addFault({ server: 'cdn', kind: { stall: 4 * 1024 * 1024 }, times: 1 });
      const options = ['--name', 'stopped', '--volume', 'resumed:/cache', ...reach()];
      const running = containers.run(options, MODELDL, 'pull', 'org/open', '--connections', '1');
      await hub.stuck();
      // A TERM that nothing handles is ignored by a first process, and would end as 137 after this time, seconds.
      const stopped = await containers.podman('stop', '--time', '60', 'stopped');
      expect(stopped.exitCode, stopped.stderr).toBe(0);
      const run = await running;
      expect(run.exitCode, run.stderr).toBe(143);
      expect(run.stderr).toContain('run the same command again to resume');
      hub.clearFaults();
      hub.clearRequests();
      const again = await containers.run(
        ['--volume', 'resumed:/cache', ...reach()],
        MODELDL,
        'pull',
        'org/open',
      );
      expect(again.exitCode, again.stderr).toBe(0);
      expect(bytesAsked()).toBeLessThan(WEIGHTS.length);
    },
    TEST_MS,
  );

  withContainers(
    'says that a secret may not be read by the user of the container',
    async () => {
      const secret = [
        '--volume',
        `${token}:/run/secrets/hf_token:ro`,
        '--env',
        'HF_TOKEN_PATH=/run/secrets/hf_token',
      ];
      const options = ['--tmpfs', '/cache', ...secret, ...reach()];
      const refused = await containers.run(options, MODELDL, 'pull', 'openvino:Qwen3-8B-int4-ov');
      expect(refused.exitCode, refused.stderr).toBe(3);
      expect(refused.stderr).toContain(
        'The token in /run/secrets/hf_token is not used: this user may not read it',
      );
      await chmod(token, 0o644);
      const read = await containers.run(options, MODELDL, 'pull', 'openvino:Qwen3-8B-int4-ov');
      await chmod(token, 0o600);
      expect(read.exitCode, read.stderr).toBe(0);
      // The mount is read-only: a hint to change its mode could not be followed.
      expect(read.stderr).not.toContain('chmod');
    },
    TEST_MS,
  );

  withContainers(
    'reads the list of another user when it is named, with its lock, and says so when it is not',
    async () => {
      const project = await lockedExample('docker');
      for (const name of await readdir(project)) await chown(join(project, name), 4343, 4343);
      const options = [
        ...['--user', '0:0', '--tmpfs', '/cache', '--tmpfs', '/work', ...reach()],
        ...['--volume', `${token}:/run/secrets/hf_token:ro`, '--env', 'HF_TOKEN_PATH=/run/secrets/hf_token'],
        ...['modeldl.config.yaml', 'modeldl.lock'].flatMap((name) => [
          '--volume',
          `${join(project, name)}:/work/${name}:ro`,
        ]),
      ];
      const passed = await containers.run(options, MODELDL, 'sync', '--frozen');
      expect(passed.exitCode).toBe(2);
      expect(passed.stderr).toContain(
        'Not read, since it belongs to another user: /work/modeldl.config.yaml',
      );
      const named = [...options, '--env', 'MODELDL_CONFIG=/work/modeldl.config.yaml'];
      const run = await containers.run(named, MODELDL, 'sync', '--frozen');
      expect(run.exitCode, run.stderr).toBe(0);
      expect(run.stdout).toBe('/work/models/Qwen3-8B-int4-ov');
    },
    TEST_MS,
  );
});

describe('the image that converts', () => {
  beforeAll(() => converting, PREPARE_MS);

  withContainers(
    'has the Python that environments of converters are made with',
    async () => {
      const run = await containers.run(['--tmpfs', '/cache'], CONVERTING, 'doctor', 'programs', '--json');
      const { checks } = JSON.parse(run.stdout) as { checks: readonly { name: string; status: string }[] };
      const found = checks.filter(({ name }) => ['programs.python', 'programs.venv'].includes(name));
      expect(
        found.map(({ status }) => status),
        run.stdout,
      ).toEqual(['ok', 'ok']);
    },
    TEST_MS,
  );

  withContainers(
    "refuses a conversion that the container's limit of memory does not allow",
    async () => {
      const limited = ['--memory', '192m', '--memory-swap', '192m', '--tmpfs', '/cache', ...reach()];
      const run = await containers.run(limited, CONVERTING, 'convert', 'org/onnx');
      expect(run.exitCode, run.stderr).toBe(9);
      expect(run.stderr).toMatch(/needs about .* of memory, and the control group .* allows 0\.2 GiB/);
    },
    TEST_MS,
  );
});

describe('the image with models', () => {
  withContainers(
    'has one layer of them, the same by byte from the same lock, without the token and the cache',
    async () => {
      const project = await lockedExample('docker');
      const build = (tag: string, caches: string): Promise<void> =>
        containers.build({
          file: join(project, 'Dockerfile'),
          context: project,
          tag,
          args: { MODELDL, SERVER, HF_ENDPOINT: hub.endpoint },
          secrets: { hf_token: token },
          caches: join(directory, caches),
        });
      const server = await containers.image(SERVER);
      await build('localhost/one', 'caches-one');
      const one = await containers.image('localhost/one');
      expect(one.layers.slice(0, -1)).toEqual(server.layers);
      expect(bytesAsked()).toBe(WEIGHTS.length);

      // Nothing of the first build is there for the second, but the lock.
      await build('localhost/two', 'caches-two');
      expect(bytesAsked()).toBe(2 * WEIGHTS.length);
      expect((await containers.image('localhost/two')).layers).toEqual(one.layers);

      hub.clearRequests();
      await build('localhost/three', 'caches-two');
      expect(hub.requests).toEqual([]);

      const served = await containers.run([...READ_ONLY, '--network', 'none'], 'localhost/one');
      expect(served.stdout, served.stderr).toBe(`${SERVED} 5000`);

      expect(one.text).not.toContain(TOKEN);
      expect(await imageFilesWith('localhost/one', TOKEN)).toBe('');
      expect(await imageFilesWith('localhost/one', 'Qwen3-8B-int4-ov')).not.toBe('');
      expect(one.bytes - server.bytes).toBeLessThan(WEIGHTS.length + 1024 * 1024);
    },
    TEST_MS,
  );

  withContainers(
    'is not built with a model that is not what the lock says',
    async () => {
      const project = await lockedExample('docker');
      hub.addFault({ server: 'cdn', kind: { corrupt: true } });
      const build = containers.build({
        file: join(project, 'Dockerfile'),
        context: project,
        tag: 'localhost/corrupt',
        args: { MODELDL, SERVER, HF_ENDPOINT: hub.endpoint },
        secrets: { hf_token: token },
        caches: join(directory, 'caches-corrupt'),
      });
      await expect(build).rejects.toThrow(/exit status 6/);
      expect((await containers.podman('image', 'exists', 'localhost/corrupt')).exitCode).toBe(1);
    },
    TEST_MS,
  );
});

describe('the composed services', () => {
  withContainers(
    'bring the models into a volume, once, before the server that reads it starts',
    async () => {
      const project = await lockedExample('compose');
      // There is no network of containers on a machine without its programs.
      const network = { network_mode: 'host' };
      const local = { services: { models: network, server: network } };
      await writeFile(join(project, 'local.yaml'), JSON.stringify(local));
      await chmod(token, 0o644);
      const compose = (...args: readonly string[]) =>
        execa(
          python,
          [
            '-m',
            'podman_compose',
            '--in-pod=false',
            '--project-name=composed',
            '--file',
            'compose.yaml',
            '--file',
            'local.yaml',
            ...args,
          ],
          {
            cwd: project,
            env: {
              ...containers.environment,
              MODELDL,
              SERVER,
              HF_ENDPOINT: hub.endpoint,
              HF_TOKEN_PATH: token,
            },
            all: true,
          },
        );
      try {
        // Attached, podman-compose may take a service that has not begun for one that has ended. Here the server is not
        // started before, and one that is finds no configuration.
        await compose('up', '--detach');
        expect(bytesAsked()).toBe(WEIGHTS.length);
        await containers.podman('wait', 'composed_server_1');
        const { stdout: said, stderr } = await containers.podman('logs', 'composed_server_1');
        expect(said, stderr).toBe(`${SERVED} 5000`);
        hub.clearRequests();
        // podman-compose may have started it once more, as what the server requires.
        await containers.podman('wait', 'composed_models_1');
        const again = await containers.podman('start', '--attach', 'composed_models_1');
        expect(again.exitCode, again.stderr).toBe(0);
        expect(again.stderr).not.toContain(TOKEN);
        expect(bytesAsked()).toBe(0);
      } finally {
        await chmod(token, 0o600);
        await compose('down', '--volumes');
      }
    },
    TEST_MS,
  );
});

describe('the manifests for Kubernetes', () => {
  withContainers(
    'are valid, and run the command of the composed services',
    async () => {
      const folder = join(EXAMPLES, 'kubernetes');
      const files = (await readdir(folder))
        .filter((name) => name.endsWith('.yaml'))
        .map((name) => join(folder, name));
      expect(files).toHaveLength(2);
      const validate = (...names: readonly string[]) =>
        execa(python, ['-m', 'kubernetes_validate', '--strict', ...names], { all: true, reject: false });
      const { exitCode, all } = await validate(...files);
      expect(exitCode, all).toBe(0);
      const broken = join(directory, 'broken.yaml');
      await writeFile(
        broken,
        (await readFile(files[0] ?? '', 'utf8')).replace('readOnly: true', 'readOnly: sometimes'),
      );
      expect((await validate(broken)).exitCode).not.toBe(0);

      const composed = yaml(await readFile(join(EXAMPLES, 'compose', 'compose.yaml'), 'utf8')) as {
        services: {
          models: {
            command: string;
            environment: { MODELDL_CONFIG: string };
            volumes: readonly string[];
          };
          server: { command: string; volumes: readonly string[] };
        };
      };
      const { models, server } = composed.services;
      const targets = ({ volumes }: { volumes: readonly string[] }): readonly string[] =>
        volumes.map((volume) => volume.split(':')[1] ?? '').sort();
      for (const file of files) {
        const documents = (await readFile(file, 'utf8'))
          .split('\n---\n')
          .map((text) => yaml(text) as Manifest);
        const pods = documents.flatMap(({ spec }) => spec.template?.spec ?? []);
        expect(pods).toHaveLength(1);
        for (const { initContainers = [], containers: rest, securityContext } of pods) {
          const modeldl = [...initContainers, ...rest].find(({ image }) => image === 'modeldl');
          const mounts = modeldl?.volumeMounts.map(({ mountPath }) => mountPath) ?? [];
          const secrets = '/run/secrets/hub-tokens';
          expect([...mounts].sort()).toEqual([...targets(models), secrets].sort());
          expect(modeldl?.env).toContainEqual({ name: 'HF_TOKEN_PATH', value: `${secrets}/hf_token` });
          for (const served of rest.filter((one) => one !== modeldl)) {
            expect(served.args.join(' ')).toBe(server.command);
            expect(served.volumeMounts.map(({ mountPath }) => mountPath)).toEqual(targets(server));
          }
          expect(modeldl?.args.join(' ')).toBe(models.command);
          expect(modeldl?.env).toContainEqual({
            name: 'MODELDL_CONFIG',
            value: models.environment.MODELDL_CONFIG,
          });
          expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 });
          for (const one of [...initContainers, ...rest]) {
            expect(one.securityContext.readOnlyRootFilesystem).toBe(true);
            expect(one.resources.limits['memory']).toBeDefined();
          }
        }
      }
    },
    TEST_MS,
  );
});

interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly object[];
  readonly volumeMounts: readonly { readonly mountPath: string }[];
  readonly securityContext: { readonly readOnlyRootFilesystem: boolean };
  readonly resources: { readonly limits: Readonly<Record<string, string>> };
}

interface Manifest {
  readonly spec: {
    readonly template?: {
      readonly spec: {
        readonly containers: readonly Container[];
        readonly initContainers?: readonly Container[];
        readonly securityContext: object;
      };
    };
  };
}

async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}
