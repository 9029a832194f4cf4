import { execFileSync } from 'node:child_process';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { geteuid } from 'node:process';
import { beforeEach, describe, expect, it } from 'vitest';
import { contentDigest, findProjectFile, loadConfig, type LoadedConfig } from '../../src/config/load.js';
import { trust } from '../../src/config/trust.js';
import { exampleConfig } from '../../src/config/user-file.js';
import type { ModeldlError } from '../../src/errors.js';
import { refusalOf } from '../helpers/hub-context.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';

const hubs = [
  {
    name: 'acme',
    title: 'Acme',
    settings: {
      endpoint: {
        description: 'Address',
        type: 'string',
        trust: true,
        environment: ['ACME_ENDPOINT', 'ACME_URL'],
      },
      pageSize: { description: 'Entries on a page', type: 'number' },
    },
  },
] as const;

let home: string;
let cwd: string;
let configDir: string;

beforeEach(async () => {
  home = await temporaryDirectory();
  cwd = join(home, 'work', 'repository', 'deep');
  configDir = join(home, '.config', 'modeldl');
  await mkdir(cwd, { recursive: true });
});

async function put(path: string, content: object | string): Promise<string> {
  const file = join(home, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

function load(
  environment: Readonly<Record<string, string>> = {},
  more: { readonly file?: string; readonly warn?: (message: string) => void } = {},
): Promise<LoadedConfig> {
  return loadConfig({ cwd, home, configDir, cacheDir: '/default/cache', environment, hubs, ...more });
}

function refused(...given: Parameters<typeof load>): Promise<ModeldlError> {
  return refusalOf(load(...given), 'CONFIG');
}

describe('precedence', () => {
  it('without files and variables every value is a default', async () => {
    const { config, sources, files } = await load();
    expect(config).toMatchObject({ cacheDir: '/default/cache', jobs: 4, convert: { precision: 'int8' } });
    expect(new Set(sources.values())).toEqual(new Set(['default']));
    expect(files).toEqual([]);
  });

  it('environment beats project, project beats user, user beats defaults, key by key', async () => {
    const user = await put('.config/modeldl/config.json', {
      jobs: 2,
      maxWait: '1m',
      offline: false,
      cacheDir: '/user/cache',
      convert: { precision: 'fp16', device: 'GPU' },
    });
    const project = await put('work/repository/modeldl.config.json', {
      convert: { precision: 'int4' },
      hubs: { acme: { pageSize: 5 } },
    });
    const { config, sources } = await load({ MODELDL_CACHE_DIR: '/env/cache', MODELDL_OFFLINE: '1' });
    expect(config).toMatchObject({
      cacheDir: '/env/cache',
      offline: true,
      jobs: 2,
      maxWait: '1m',
      durability: 'lazy',
      convert: { precision: 'int4', device: 'GPU', check: true },
      hubs: { acme: { pageSize: 5 } },
    });
    expect(Object.fromEntries(sources)).toMatchObject({
      cacheDir: 'environment variable MODELDL_CACHE_DIR',
      offline: 'environment variable MODELDL_OFFLINE',
      jobs: user,
      maxWait: user,
      durability: 'default',
      'convert.precision': project,
      'convert.device': user,
      'convert.check': 'default',
      'hubs.acme.pageSize': project,
    });
  });

  it('a file that is named replaces the project file, and needs no trust', async () => {
    await put('work/repository/modeldl.config.json', { jobs: 3 });
    await put('work/repository/deep/other.yaml', 'hubs: { acme: { endpoint: https://a } }');
    const { config, files } = await load({}, { file: 'other.yaml' });
    expect(config).toMatchObject({ jobs: 4, hubs: { acme: { endpoint: 'https://a' } } });
    expect(files.map(({ kind }) => kind)).toEqual(['named']);
  });
});

describe('environment variables', () => {
  it.each<readonly [Readonly<Record<string, string>>, string, unknown, string]>([
    [{ MODELDL_OFFLINE: '0', HF_HUB_OFFLINE: '1' }, 'offline', false, 'MODELDL_OFFLINE'],
    [{ MODELDL_ADOPT: 'Never' }, 'adopt', 'never', 'MODELDL_ADOPT'],
    [{ HF_HUB_OFFLINE: 'ON' }, 'offline', true, 'HF_HUB_OFFLINE'],
    [{ MODELDL_OFFLINE: '', HF_HUB_OFFLINE: 'yes' }, 'offline', true, 'HF_HUB_OFFLINE'],
    [{ https_proxy: 'http://a:1', HTTPS_PROXY: 'http://b:1' }, 'proxy.https', 'http://a:1', 'https_proxy'],
    [{ HTTP_PROXY: 'http://b:1' }, 'proxy.http', 'http://b:1', 'HTTP_PROXY'],
    [{ ALL_PROXY: 'http://c:1' }, 'proxy.http', 'http://c:1', 'ALL_PROXY'],
    [{ https_proxy: '', ALL_PROXY: 'http://c:1' }, 'proxy.https', '', 'https_proxy'],
    [{ NO_PROXY: 'localhost' }, 'proxy.no', 'localhost', 'NO_PROXY'],
    [{ ACME_URL: 'https://u' }, 'hubs.acme.endpoint', 'https://u', 'ACME_URL'],
    [
      { ACME_ENDPOINT: 'https://e', ACME_URL: 'https://u' },
      'hubs.acme.endpoint',
      'https://e',
      'ACME_ENDPOINT',
    ],
  ])('%j sets %s', async (environment, key, value, variable) => {
    await put('.config/modeldl/config.json', { offline: false, proxy: { http: 'http://file:1' } });
    const { config, sources } = await load(environment);
    const found = key.split('.').reduce<unknown>((node, name) => Reflect.get(Object(node), name), config);
    expect(found).toBe(value);
    expect(sources.get(key)).toBe(`environment variable ${variable}`);
  });

  it('a cache directory is relative to the working directory', async () => {
    expect((await load({ MODELDL_CACHE_DIR: 'cache' })).config.cacheDir).toBe(join(cwd, 'cache'));
  });
});

describe('the project file', () => {
  it.each<readonly [string, string]>([
    ['modeldl.config.json', '{"convert":{"device":"GPU"}}'],
    ['modeldl.config.yaml', 'convert: { device: GPU }'],
    ['modeldl.config.yml', 'convert: { device: GPU }'],
    ['.modeldlrc', 'convert: { device: GPU }'],
    ['.modeldlrc', '{"convert":{"device":"GPU"}}'],
    ['.modeldlrc.json', '{"convert":{"device":"GPU"}}'],
    ['.modeldlrc.yaml', 'convert: { device: GPU }'],
    ['package.json', '{"name":"x","modeldl":{"convert":{"device":"GPU"}}}'],
  ])('may be %s holding %s', async (name, content) => {
    const file = await put(`work/repository/${name}`, content);
    const { config, sources } = await load();
    expect(config.convert?.device).toBe('GPU');
    expect(sources.get('convert.device')).toBe(file);
  });

  it('is the nearest, and the best name within a directory', async () => {
    await put('work/repository/modeldl.config.json', { convert: { device: 'NPU' } });
    await put('work/repository/deep/.modeldlrc', 'jobs: 2');
    const best = await put('work/repository/deep/modeldl.config.yaml', 'jobs: 3');
    expect(await findProjectFile(cwd, home)).toBe(best);
  });

  it('a package.json without the key is passed over', async () => {
    await put('work/repository/deep/package.json', { name: 'x' });
    const above = await put('work/repository/modeldl.config.json', {});
    expect(await findProjectFile(cwd, home)).toBe(above);
  });

  requirePeer('mkfifo', hasProgram('mkfifo'))('a pipe is passed over, and not waited for', async () => {
    for (const name of ['package.json', 'modeldl.config.json', '.modeldlrc'])
      execFileSync('mkfifo', [join(cwd, name)]);
    const above = await put('work/repository/modeldl.config.json', {});
    expect(await findProjectFile(cwd, home)).toBe(above);
  });

  it('is not looked for above the repository', async () => {
    await put('work/modeldl.config.json', { convert: { device: 'NPU' } });
    await mkdir(join(home, 'work/repository/.git'));
    expect(await findProjectFile(cwd, home)).toBeUndefined();
  });

  it('is not looked for above the home directory', async () => {
    await put('work/modeldl.config.json', { convert: { device: 'NPU' } });
    expect(await findProjectFile(cwd, join(home, 'work/repository'))).toBeUndefined();
  });

  it('one that runs code is not a configuration', async () => {
    await put('work/repository/deep/modeldl.config.js', 'throw new Error("ran")');
    await put('work/repository/deep/modeldl.config.mjs', 'throw new Error("ran")');
    expect(await findProjectFile(cwd, home)).toBeUndefined();
  });

  const root = requirePeer('root, to give a file away', geteuid?.() === 0);
  root('of another user is ignored, and that is said', async () => {
    const nobody = 65_534;
    const file = await put('work/repository/deep/modeldl.config.json', { convert: { device: 'NPU' } });
    expect(await findProjectFile(cwd, home)).toBe(file);
    await chown(file, nobody, nobody);
    expect(await findProjectFile(cwd, home)).toBeUndefined();
    const warnings: string[] = [];
    const { config } = await load({}, { warn: (message) => warnings.push(message) });
    expect(config.convert?.device).toBe('CPU');
    expect(warnings).toEqual([
      `Not read, since it belongs to another user: ${file}; \`--config\` or \`MODELDL_CONFIG\` reads it`,
    ]);
    expect((await load({}, { file, warn: (message) => warnings.push(message) })).config.convert?.device).toBe(
      'NPU',
    );
    expect(warnings).toHaveLength(1);
  });
});

describe('trust', () => {
  it.each<readonly [object, string]>([
    [{ hubs: { acme: { endpoint: 'https://evil.example' } } }, 'hubs.acme.endpoint'],
    [{ proxy: { https: 'http://evil.example:1' } }, 'proxy.https'],
    [{ caFile: 'evil.pem' }, 'caFile'],
    [{ cacheDir: '/elsewhere' }, 'cacheDir'],
    [{ offline: false }, 'offline'],
    [{ durability: 'trust' }, 'durability'],
    [{ toolchains: { install: 'auto' } }, 'toolchains.install'],
    [{ limitRate: '1T' }, 'limitRate'],
    [{ maxWait: '0' }, 'maxWait'],
    [{ jobs: 64 }, 'jobs'],
    [{ toolchains: { python: './evil' } }, 'toolchains.python'],
    [{ toolchains: { interpreters: { openvino: './evil' } } }, 'toolchains.interpreters.openvino'],
  ])('%j is asked for once, and again when the file changes', async (content, key) => {
    const file = await put('work/repository/modeldl.config.json', content);
    const error = await refused();
    expect(error.message).toContain(file);
    expect(error.hint).toBe(`it sets ${key}; read it, then run \`modeldl config trust\``);
    await trust(configDir, file, contentDigest(JSON.stringify(content)));
    expect((await load()).sources.get(key)).toBe(file);
    await put('work/repository/modeldl.config.json', { ...content, convert: { device: 'CPU' } });
    await refused();
  });

  it('the same content at another path is asked for again', async () => {
    const content = { caFile: 'ca.pem' };
    const elsewhere = await put('elsewhere/modeldl.config.json', content);
    await trust(configDir, elsewhere, contentDigest(JSON.stringify(content)));
    await put('work/repository/modeldl.config.json', content);
    await refused();
  });

  it('the user file needs none', async () => {
    await put('.config/modeldl/config.yaml', 'hubs: { acme: { endpoint: https://mine } }');
    expect((await load()).config.hubs?.['acme']).toEqual({ endpoint: 'https://mine' });
  });

  it('the example needs none', async () => {
    await put('work/repository/modeldl.config.json', exampleConfig());
    expect((await load()).config.convert?.device).toBe('CPU');
  });
});

describe('paths', () => {
  it('are relative to the file that holds them; a program without a slash is left to the PATH', async () => {
    await put('.config/modeldl/config.json', {
      cacheDir: 'cache',
      caFile: '../ca.pem',
      toolchains: { python: 'python3.12', interpreters: { openvino: './venv/bin/python' } },
    });
    expect((await load()).config).toMatchObject({
      cacheDir: join(configDir, 'cache'),
      caFile: join(home, '.config/ca.pem'),
      toolchains: {
        python: 'python3.12',
        interpreters: { openvino: join(configDir, 'venv/bin/python') },
      },
    });
  });
});

describe('what is refused', () => {
  it.each<readonly [string, string, RegExp | string, RegExp | string]>([
    [
      'modeldl.config.json',
      '{\n  jobs: 4\n}',
      /Cannot parse/,
      /^correct the JSON at line 2, column 3: Expected property name/,
    ],
    ['modeldl.config.json', '{"jobs": 4,\n "x" 5}', /Cannot parse/, /JSON at line 2, column 6: [A-Z]\w+/],
    ['modeldl.config.json', '{"jobs": [4,]}', /Cannot parse/, /JSON.*: Unexpected token/],
    ['modeldl.config.json', '', /Cannot parse/, /^correct the JSON: Unexpected end/],
    ['modeldl.config.yaml', 'jobs: 4\nx: y: z', /Cannot parse/, /YAML at line 2, column 5: bad indentation/],
    ['modeldl.config.json', '[]', /Expected keys/, /convert/],
    ['modeldl.config.json', '{"maxWait":"soon"}', 'expected a duration such as 10m, got "soon"', /default/],
    [
      'modeldl.config.json',
      '{"limitRate":"fast"}',
      'expected a size above 0 such as 20M, got "fast"',
      /default/,
    ],
    ['modeldl.config.json', '{"precision":"int4"}', 'Unknown key `precision`', '`convert.precision`'],
    ['modeldl.config.json', '{"hubs":{"acme":{"page":1}}}', '`hubs.acme.page`', '`hubs.acme.pageSize`'],
    ['modeldl.config.json', '{"hubs":{"acme":{"pageSize":"1"}}}', 'expected number, got "1"', /default/],
    ['modeldl.config.json', '{"hubs":{"acme":{"token":"abc"}}}', /must not hold a token/, /modeldl login/],
    ['.modeldlrc', 'device: CPU', 'Unknown key `device`', '`convert.device`'],
  ])('%s holding %s', async (name, content, message, hint) => {
    const file = await put(`work/repository/deep/${name}`, content);
    const error = await refused();
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
    expect(error.hint).toMatch(hint);
    expect(error.details.file).toBe(file);
  });

  it('a key that would change what objects are', async () => {
    await put('work/repository/deep/modeldl.config.json', '{"__proto__":{"jobs":64},"constructor":1}');
    await refused();
    expect(Reflect.get({}, 'jobs')).toBeUndefined();
  });
});
