/** What CI systems do with modeldl: the shell steps of the workflows in `examples/ci`, and what these stand on. */
import { cp, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { CORE_SCHEMA, load } from 'js-yaml';
import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeScript, writeStandInOpenvino } from '../helpers/interpreter.js';
import { createWorld, PROGRAM, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const EXAMPLES = fileURLToPath(new URL('../../examples/ci/', import.meta.url));
const WEIGHTS = Buffer.alloc(9 * 1024 * 1024, 'weights');
const TOKEN = 'hf_secretsecretsecretsecret';
const LIST = ['org/net --fp16', 'org/plain', 'org/gated'];

let world: World;
let hub: HfHub;
/** What the converter was started for, a line each. */
let jobs: () => Promise<readonly string[]>;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/net', files: { 'config.json': '{}', 'model.onnx': WEIGHTS } },
      {
        id: 'org/plain',
        files: { 'config.json': '{"plain":true}', 'model.onnx': Buffer.concat([WEIGHTS, WEIGHTS]) },
      },
      {
        id: 'org/gated',
        files: { 'config.json': '{"gated":true}' },
        gated: { kind: 'auto', granted: ['somebody'] },
      },
    ],
    tokens: [{ token: TOKEN, user: 'somebody' }],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  const log = at('jobs');
  await writeFile(log, '');
  jobs = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean);
  const python = await writeStandInOpenvino(at('python'), {
    convert: [`echo convert >> ${log}`],
    check: [`echo check >> ${log}`],
  });
  await mkdir(at('.config/modeldl'), { recursive: true });
  const config = { toolchains: { interpreters: { openvino: python } } };
  await writeFile(at('.config/modeldl/config.json'), JSON.stringify(config));
  await writeList(LIST);
});

afterEach(async () => {
  await Promise.all([world.remove(), hub.close()]);
});

const at = (...names: readonly string[]): string => join(world.directory, ...names);
async function writeList(lines: readonly string[]): Promise<void> {
  const models = lines.map((line) => {
    const [reference = '', precision] = line.split(' --');
    return { reference, ...(precision === undefined ? {} : { precision }) };
  });
  await writeFile(at('modeldl.config.json'), JSON.stringify({ models }));
}
/** Files of models that were asked for. */
const fetched = (): readonly string[] =>
  hub.requests.flatMap(({ server, method, url }) =>
    server === 'hub' && method === 'GET'
      ? (/^\/(.*)\/resolve\/[^/]*(\/[^?]*)/.exec(url)?.slice(1).join('') ?? [])
      : [],
  );

async function locked(): Promise<void> {
  const run = await world.runWith({ HF_TOKEN: TOKEN }, 'lock');
  expect(run.exitCode, run.stderr).toBe(0);
  hub.clearRequests();
}

async function ok(
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<string> {
  const run = await world.runWith(environment, ...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return run.stdout;
}

describe('modeldl ci key', () => {
  it('needs a lock, and makes no cache', async () => {
    const refused = await world.run('ci', 'key', '--json');
    const { error } = JSON.parse(refused.stdout) as { error: Record<string, unknown> };
    expect([refused.exitCode, error['code'], error['file']]).toEqual([2, 'CONFIG', at('modeldl.lock')]);
    expect(error['hint']).toContain('`modeldl lock`');
    await expect(stat(world.cacheDir)).rejects.toThrow('ENOENT');
  });

  it('is the same in another directory, for another user and with other line ends, without a request', async () => {
    await locked();
    const key = await ok({}, 'ci', 'key');
    expect(key).toMatch(/^modeldl-v1-\w+-\w+-[0-9a-f]{32}$/);
    const lock = await readFile(at('modeldl.lock'), 'utf8');
    await writeFile(at('modeldl.lock'), lock.replaceAll('\n', '\r\n'));
    expect(await ok({ MODELDL_CACHE_DIR: at('another') }, 'ci', 'key')).toBe(key);
    expect(key.startsWith(await ok({}, 'ci', 'key', '--prefix'))).toBe(true);
    const described = JSON.parse(await ok({}, 'ci', 'key', '--json')) as Record<string, unknown>;
    expect(described).toMatchObject({ ok: true, key, layout: 'v1', lock: at('modeldl.lock') });
    expect(Object.keys(described['toolchains'] as object)).toEqual(['openvino']);
    expect(hub.requests).toEqual([]);
    await writeFile(at('modeldl.lock'), lock.replaceAll(/"revision": "../g, '"revision": "ff'));
    expect(await ok({}, 'ci', 'key')).not.toBe(key);
  });

  it('refuses another action, and a lock that is damaged', async () => {
    expect((await world.run('ci', 'kye')).exitCode).toBe(2);
    await writeFile(at('modeldl.lock'), '{');
    const run = await world.run('ci', 'key');
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    expect(run.stderr).toContain(at('modeldl.lock'));
  });

  it('of a lock with a toolchain that is not known names both', async () => {
    await locked();
    const lock = await readFile(at('modeldl.lock'), 'utf8');
    await writeFile(
      at('modeldl.lock'),
      lock.replace('"toolchain": "openvino"', '"toolchain": "of-tomorrow"'),
    );
    const run = await world.run('ci', 'key');
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    expect(run.stderr).toContain(`of-tomorrow: ${at('modeldl.lock')}`);
    expect(run.stderr).toContain('update modeldl, or run `modeldl lock`');
  });
});

describe('modeldl prune --ci', () => {
  it('keeps conversions, which are then found without their origin and without a request for bytes', async () => {
    await locked();
    await ok({ HF_TOKEN: TOKEN }, 'sync', '--frozen');
    expect(await jobs()).toEqual(['convert', 'check']);
    const { freedBytes } = JSON.parse(await ok({}, 'prune', '--ci', '--yes', '--json')) as {
      freedBytes: number;
    };
    expect(freedBytes).toBeGreaterThan(2 * WEIGHTS.length);
    const listed = JSON.parse(await ok({}, 'list', '--json')) as {
      models: readonly { reference: string; kind: string }[];
    };
    expect(listed.models.map(({ reference, kind }) => [reference.replace(/@.*?(\+|$)/, '$1'), kind])).toEqual(
      [
        ['hf:org/gated', 'pulled'],
        ['hf:org/net+fp16-cpu', 'converted'],
      ],
    );
    hub.clearRequests();
    const synced = JSON.parse(await ok({}, 'sync', '--frozen', '--json')) as {
      models: readonly { cached: boolean; downloadedBytes: number }[];
    };
    expect(synced.models.map(({ cached }) => cached)).toEqual([true, false, true]);
    expect([...fetched()].sort()).toEqual(['org/plain/config.json', 'org/plain/model.onnx']);
    hub.clearRequests();
    const converted = JSON.parse(await ok({}, 'convert', 'org/net', '--precision', 'fp16', '--json')) as {
      models: readonly { cached: boolean; path: string }[];
    };
    expect(converted.models[0]?.cached).toBe(true);
    expect(await readFile(join(converted.models[0]?.path ?? '', 'model.bin'), 'utf8')).toBe('weights\n');
    expect(fetched()).toEqual([]);
    const plan = await ok({}, 'convert', 'org/net', '--precision', 'fp16', '--dry-run');
    expect(plan).toContain('(stored)');
    await ok({}, '--offline', 'sync', '--frozen');
    expect(await jobs()).toEqual(['convert', 'check']);
    await ok({}, 'pull', 'org/net');
    expect([...fetched()].sort()).toEqual(['org/net/config.json', 'org/net/model.onnx']);
  });

  it('converts anew where the conversion is damaged or other settings are asked for', async () => {
    await locked();
    await ok({ HF_TOKEN: TOKEN }, 'sync', '--frozen');
    await ok({}, 'prune', '--ci', '--yes');
    await ok({}, 'convert', 'org/net', '--precision', 'fp32');
    expect(await jobs()).toEqual(['convert', 'check', 'convert', 'check']);
    const path = await ok({}, 'path', 'org/net', '--precision', 'fp16');
    await ok({}, 'prune', '--ci', '--yes');
    await rm(join(path, 'model.bin'), { force: true });
    await ok({}, 'convert', 'org/net', '--precision', 'fp16');
    expect(await jobs()).toHaveLength(6);
  });

  it('takes unfinished downloads along, and needs a confirmation', async () => {
    const received = 5 * 1024 * 1024;
    hub.addFault({ server: 'cdn', kind: { stall: received } });
    const started = world.start({}, 'pull', 'org/plain', '--connections', '1', '--progress', 'json');
    await started.said(`"receivedBytes":${received}`);
    started.signal('SIGINT');
    expect((await started.done).exitCode).toBe(130);
    hub.clearFaults();
    const plan = JSON.parse(await ok({}, 'prune', '--ci', '--dry-run', '--json')) as {
      partials: { count: number };
      keptPartials: { count: number };
    };
    expect([plan.partials.count, plan.keptPartials.count]).toEqual([1, 0]);
    await ok({}, 'pull', 'org/net');
    const asked = await world.run('prune', '--ci');
    expect([asked.exitCode, asked.stderr.includes('pass `-y`')]).toEqual([2, true]);
  });
});

describe('a summary', () => {
  it('is appended, of failures too, and told of before anything is fetched where it cannot be written', async () => {
    const file = at('summary.md');
    await writeFile(file, '# Job\n\n');
    const run = await world.run('pull', 'org/plain', 'org/missing', '--summary', file);
    expect(run.exitCode).toBe(11);
    const text = await readFile(file, 'utf8');
    expect(text.startsWith('# Job\n\n### modeldl pull\n')).toBe(true);
    expect(text).toMatch(/\| <code>hf&#58;org&#47;plain.*fetched 18\.0 MiB \| \d+s \|/);
    expect(text).toMatch(/org&#47;missing.*\*\*AUTH\*\*/);
    hub.clearRequests();
    const refused = await world.run('pull', 'org/net', '--summary', at('no/such/summary.md'));
    expect([refused.exitCode, hub.requests]).toEqual([7, []]);
    expect((await world.run('pull', 'org/net', '--summary', '')).exitCode).toBe(2);
  });

  it('of a command that fails as a whole says so', async () => {
    const run = await world.run('convert', 'org/gated', '--summary', at('summary.md'));
    expect(run.exitCode).toBe(4);
    expect(await readFile(at('summary.md'), 'utf8')).toMatch(/\*\*(AUTH|GATED)\*\*/);
    const unlocked = await world.run('sync', '--frozen', '--summary', at('sync.md'));
    expect(unlocked.exitCode).toBe(2);
    expect(await readFile(at('sync.md'), 'utf8')).toMatch(
      /^### modeldl sync\n[^]*\*\*CONFIG\*\*: There is no lock/,
    );
  });
});

describe('in GitHub Actions', () => {
  it('an error is an annotation, and nothing from outside is a command', async () => {
    const run = await world.runWith({ GITHUB_ACTIONS: 'true' }, 'path', 'org/none');
    expect(run.exitCode).toBe(3);
    const lines = run.stderr.split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^::error title=modeldl::Not stored: .*%0Ahint: /);
    const hostile = await world.runWith({ GITHUB_ACTIONS: 'true' }, 'path', 'x\n::add-mask::y');
    expect(hostile.stderr.split('\n').filter((line) => /^\s*::(?!error title=modeldl::)/.test(line))).toEqual(
      [],
    );
    expect((await world.run('path', 'org/none')).stderr).toMatch(/^error: /);
  });
});

const githubSchema = v.object({
  jobs: v.object({
    models: v.object({
      steps: v.array(
        v.object({
          id: v.optional(v.string()),
          name: v.optional(v.string()),
          uses: v.optional(v.string()),
          run: v.optional(v.string()),
          if: v.optional(v.string()),
          with: v.optional(v.record(v.string(), v.unknown())),
        }),
      ),
    }),
  }),
});
const gitlabSchema = v.object({
  variables: v.record(v.string(), v.string()),
  'cache-key': v.object({ script: v.array(v.string()) }),
  models: v.object({ script: v.array(v.string()), cache: v.object({ paths: v.array(v.string()) }) }),
});

/** A machine of a CI system: a checkout and a home of its own, and `npm install --global modeldl` done. */
interface Machine {
  readonly checkout: string;
  readonly home: string;
  run(script: string, environment?: Readonly<Record<string, string>>): Promise<string>;
}

async function newMachine(name: string, secrets: Readonly<Record<string, string>>): Promise<Machine> {
  const [checkout, home, bin] = [at(name, 'checkout'), at(name, 'home'), at(name, 'bin')];
  await mkdir(checkout, { recursive: true });
  for (const file of ['modeldl.config.json', 'modeldl.lock']) await cp(at(file), join(checkout, file));
  await mkdir(join(home, '.config/modeldl'), { recursive: true });
  await cp(at('.config/modeldl/config.json'), join(home, '.config/modeldl/config.json'));
  await writeScript(join(bin, 'modeldl'), `exec ${process.execPath} ${PROGRAM} "$@"`);
  await writeScript(join(bin, 'npm'), 'echo "$*"; [ "$*" = "install --global modeldl" ]');
  await writeScript(join(bin, 'apt-get'), 'case "$*" in update*|*" python3-venv") ;; *) exit 100 ;; esac');
  return {
    checkout,
    home,
    run: async (script, environment = {}) => {
      const { stdout } = await execa('bash', ['-e', '-o', 'pipefail', '-c', script], {
        cwd: checkout,
        env: {
          PATH: `${bin}:${process.env['PATH'] ?? ''}`,
          HOME: home,
          HF_ENDPOINT: hub.endpoint,
          CI: 'true',
          ...secrets,
          ...environment,
        },
        extendEnv: false,
      });
      return stdout;
    },
  };
}

/** Runs a job of the workflow for GitHub, with the steps of `actions/cache` done by copies. Returns its summary. */
async function runGithub(machine: Machine, caches: string, event: 'push' | 'pull_request'): Promise<string> {
  const workflow = v.parse(
    githubSchema,
    load(await readFile(join(EXAMPLES, 'github.yml'), 'utf8'), { schema: CORE_SCHEMA }),
  );
  const outputs = join(machine.home, 'outputs');
  const summary = join(machine.home, 'summary.md');
  await writeFile(outputs, '');
  await mkdir(caches, { recursive: true });
  /** What an expression stands for: an output of the first step. */
  const value = async (text: unknown): Promise<string> => {
    const name = /^\$\{\{ steps\.cache\.outputs\.(\w+) \}\}$/.exec(String(text))?.[1];
    return new RegExp(`^${name}=(.*)$`, 'm').exec(await readFile(outputs, 'utf8'))?.[1] ?? '';
  };
  const copy = (from: string, to: string): Promise<void> =>
    cp(from, to, { recursive: true, preserveTimestamps: true });
  const cacheDir = join(machine.home, '.cache/modeldl');
  let hit = false;
  for (const { uses = '', run, if: condition, with: options = {} } of workflow.jobs.models.steps) {
    if (condition !== undefined) {
      expect(condition).toBe("github.event_name == 'push' && steps.restored.outputs.cache-hit != 'true'");
      if (event !== 'push' || hit) continue;
    }
    if (uses.startsWith('actions/cache/')) expect(options['path']).toBe('~/.cache/modeldl');
    if (uses.startsWith('actions/cache/restore@')) {
      const [key, prefix] = [await value(options['key']), await value(options['restore-keys'])];
      const kept = await readdir(caches);
      hit = kept.includes(key);
      const found = hit ? key : kept.find((name) => prefix !== '' && name.startsWith(prefix));
      if (found !== undefined) await copy(join(caches, found), cacheDir);
    }
    if (uses.startsWith('actions/cache/save@'))
      await copy(cacheDir, join(caches, await value(options['key'])));
    if (run === undefined) continue;
    await machine.run(run, {
      GITHUB_ACTIONS: 'true',
      GITHUB_OUTPUT: outputs,
      GITHUB_STEP_SUMMARY: summary,
    });
  }
  return readFile(summary, 'utf8');
}

/** All that was used before now was used this many days earlier. */
async function age(cacheDir: string, days: number): Promise<void> {
  const then = new Date(Date.now() - days * 86_400_000);
  const used = join(cacheDir, 'v1/used');
  for (const name of await readdir(used)) await utimes(join(used, name), then, then);
}

describe('the workflow for GitHub', () => {
  it('converts once, and works in a pull request of a fork from the cache alone', async () => {
    await locked();
    const caches = at('caches');
    const first = await runGithub(await newMachine('one', { HF_TOKEN: TOKEN }), caches, 'push');
    expect(first).toContain('converted');
    expect(await jobs()).toEqual(['convert', 'check']);
    hub.clearRequests();
    const fork = await runGithub(await newMachine('fork', { HF_TOKEN: '' }), caches, 'pull_request');
    expect(fork).not.toContain('converted');
    expect(await jobs()).toEqual(['convert', 'check']);
    expect([...fetched()].sort()).toEqual(['org/plain/config.json', 'org/plain/model.onnx']);
    expect(await readdir(caches)).toHaveLength(1);
  });

  it('has the conversions of an earlier lock, until no lock named them for a month', async () => {
    await writeList(['org/net --fp16']);
    await locked();
    const caches = at('caches');
    await runGithub(await newMachine('one', {}), caches, 'push');
    const [earlier = ''] = await readdir(caches);

    await writeList(['org/net --fp16', 'org/plain']);
    await locked();
    await runGithub(await newMachine('two', {}), caches, 'push');
    expect(await jobs()).toEqual(['convert', 'check']);
    expect(await readdir(caches)).toHaveLength(2);

    await rm(join(caches, earlier), { recursive: true });
    const [later = ''] = await readdir(caches);
    await age(join(caches, later), 31);
    await writeList(['org/plain']);
    await locked();
    const machine = await newMachine('three', {});
    await runGithub(machine, caches, 'push');
    expect(await machine.run('modeldl list --quiet')).toBe('');
  });

  requirePeer('actionlint', hasProgram('actionlint'))('is what actionlint takes', async () => {
    const file = at('.github/workflows/models.yml');
    await mkdir(dirname(file), { recursive: true });
    await cp(join(EXAMPLES, 'github.yml'), file);
    const { stdout } = await execa('actionlint', ['-no-color', '-shellcheck=', '-pyflakes=', file], {
      reject: false,
    });
    expect(stdout).toBe('');
  });
});

describe('the workflow for GitLab', () => {
  it('converts once, and the next pipeline has it from the cache', async () => {
    await locked();
    const jobsOf = v.parse(
      gitlabSchema,
      load(await readFile(join(EXAMPLES, 'gitlab.yml'), 'utf8'), { schema: CORE_SCHEMA }),
    );
    const kept = at('gitlab-cache');
    for (const [name, token] of [
      ['first', TOKEN],
      ['later', undefined],
    ] as const) {
      const machine = await newMachine(name, token === undefined ? {} : { HF_TOKEN: token });
      const [path = ''] = jobsOf.models.cache.paths;
      const cache = join(machine.checkout, path);
      const variables = Object.fromEntries(
        Object.entries(jobsOf.variables).map(([key, value]) => [
          key,
          value.replace('$CI_PROJECT_DIR', machine.checkout),
        ]),
      );
      await machine.run(jobsOf['cache-key'].script.join('\n'), variables);
      expect(await readFile(join(machine.checkout, 'modeldl.env'), 'utf8')).toMatch(
        /^MODELDL_CACHE_KEY=modeldl-v1-[\w-]+\n$/,
      );
      if (name === 'later') await cp(kept, cache, { recursive: true });
      await machine.run(jobsOf.models.script.join('\n'), variables);
      if (name === 'first') await cp(cache, kept, { recursive: true });
      expect(await readFile(join(machine.checkout, 'modeldl-summary.md'), 'utf8')).toContain(
        '3 in the store',
      );
    }
    expect(await jobs()).toEqual(['convert', 'check']);
  });

  requirePeer('gitlab-ci-local', hasProgram('gitlab-ci-local'))(
    'has the jobs that it says, by its schema',
    async () => {
      await cp(join(EXAMPLES, 'gitlab.yml'), at('.gitlab-ci.yml'));
      await execa('git', ['init', '-q', world.directory]);
      await execa('git', [
        '-C',
        world.directory,
        'remote',
        'add',
        'origin',
        'git@gitlab.example:group/project.git',
      ]);
      const list = (): Promise<string> =>
        execa('gitlab-ci-local', ['--list-csv'], {
          cwd: world.directory,
          env: { HOME: world.directory },
        }).then(({ stdout }) => stdout);
      expect((await list()).split('\n').map((line) => line.split(';')[0])).toEqual([
        'name',
        'cache-key',
        'models',
      ]);
      const wrong = (await readFile(at('.gitlab-ci.yml'), 'utf8')).replace(
        '  cache:\n',
        '$&    policy: nonsense\n',
      );
      await writeFile(at('.gitlab-ci.yml'), wrong);
      await expect(list()).rejects.toThrow('policy');
    },
  );
});
