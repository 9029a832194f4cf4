import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { format, resolveConfig } from 'prettier';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import {
  configSchema,
  DEFAULTS,
  knownKeys,
  leaves,
  nearestKey,
  needsTrust,
} from '../../src/config/schema.js';
import { exampleConfig } from '../../src/config/user-file.js';
import { configurationSchema } from '../../src/index.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PUBLISHED = `${ROOT}modeldl.config.schema.json`;
const EXAMPLE = `${ROOT}modeldl.config.example.json`;

const schema = configurationSchema();
const hubs = [
  {
    name: 'acme',
    title: 'Acme',
    settings: {
      endpoint: { description: 'Address', type: 'string' },
      mirrors: { description: 'Mirrors', type: 'string[]', trust: true },
      pageSize: { description: 'Entries on a page', type: 'number' },
      strict: { description: 'Refuse more', type: 'boolean' },
    },
  },
] as const;

/** As prettier has it, so that the published files pass `npm run format`. */
async function formatted(document: object, path: string): Promise<string> {
  return format(JSON.stringify(document), { ...(await resolveConfig(path)), parser: 'json' });
}

describe('the published files', () => {
  // `npm run schema` writes them.
  it('modeldl.config.schema.json is what the program checks with, with hubs of plugins whatever they are', async () => {
    const published = configurationSchema(undefined, { open: true });
    const document = { title: 'Configuration of modeldl', ...toJsonSchema(published) };
    await expect(await formatted(document, PUBLISHED)).toMatchFileSnapshot(PUBLISHED);
  });

  it('modeldl.config.example.json is what `modeldl config init` writes', async () => {
    await expect(exampleConfig()).toMatchFileSnapshot(EXAMPLE);
  });

  it('the example is valid, needs no trust, and changes no default', () => {
    const example: unknown = JSON.parse(exampleConfig());
    expect(v.is(schema, example)).toBe(true);
    const defaults = new Map(leaves(DEFAULTS));
    for (const [key, value] of leaves(example)) {
      expect(needsTrust(key, hubs), key).toBe(false);
      if (key !== '$schema') expect(value, key).toEqual(defaults.get(key));
    }
  });

  it('every key is described', () => {
    const undescribed: string[] = [];
    const walk = (node: unknown, path: string): void => {
      const { properties, description } = v.parse(
        v.looseObject({
          properties: v.optional(v.record(v.string(), v.unknown())),
          description: v.optional(v.string()),
        }),
        node,
      );
      if (properties === undefined && description === undefined) undescribed.push(path);
      for (const [key, inner] of Object.entries(properties ?? {})) walk(inner, `${path}.${key}`);
    };
    walk(toJsonSchema(schema), '');
    expect(undescribed).toEqual(['.$schema']);
  });
});

describe('configSchema', () => {
  it.each([
    [{}],
    [{ $schema: 'x', jobs: 64, offline: true, durability: 'flush' }],
    [{ limitRate: '1.5MiB', maxWait: '90s' }],
    [{ plugins: ['modeldl-hub-acme', '@acme/hub', './hub.mjs', '../hubs', '/opt/hub/index.js'] }],
    [{ convert: { precision: 'int4', device: 'HETERO:GPU,CPU', check: false } }],
    [
      {
        toolchains: {
          install: 'never',
          python: 'python3.12',
          interpreters: { openvino: '/venv/bin/python' },
        },
      },
    ],
    [{ proxy: { http: '', https: 'http://p:1', no: 'localhost' } }],
    [{ hubs: { acme: { endpoint: 'https://x', mirrors: ['https://y'], pageSize: 5, strict: true } } }],
  ])('takes %j', (document) => {
    expect(v.safeParse(configSchema(hubs), document).issues).toBeUndefined();
  });

  it.each<readonly [object, string]>([
    [{ job: 1 }, 'job'],
    [{ jobs: 0 }, 'jobs'],
    [{ jobs: 65 }, 'jobs'],
    [{ jobs: 1.5 }, 'jobs'],
    [{ limitRate: 'fast' }, 'limitRate'],
    [{ limitRate: '20M ' }, 'limitRate'],
    [{ limitRate: '0' }, 'limitRate'],
    [{ limitRate: '0.0M' }, 'limitRate'],
    [{ maxWait: 'soon' }, 'maxWait'],
    [{ durability: 'eager' }, 'durability'],
    [{ plugins: 'modeldl-hub-acme' }, 'plugins'],
    [{ plugins: ['https://acme.example/hub.js'] }, 'plugins.0'],
    [{ plugins: ['modeldl-hub-acme@1.0.0'] }, 'plugins.0'],
    [{ plugins: [''] }, 'plugins.0'],
    [{ convert: { precision: 'int3' } }, 'convert.precision'],
    [{ convert: { precison: 'int8' } }, 'convert.precison'],
    [{ cacheDir: '' }, 'cacheDir'],
    [{ hubs: { acmee: {} } }, 'hubs.acmee'],
    [{ hubs: { acme: { endpont: 'x' } } }, 'hubs.acme.endpont'],
    [{ hubs: { acme: { pageSize: '5' } } }, 'hubs.acme.pageSize'],
    [{ hubs: { acme: { mirrors: 'https://y' } } }, 'hubs.acme.mirrors'],
    [{ hubs: { acme: { strict: 'yes' } } }, 'hubs.acme.strict'],
  ])('refuses %j at %s', (document, key) => {
    const { issues = [] } = v.safeParse(configSchema(hubs), document);
    expect(issues.map((issue) => v.getDotPath(issue))).toEqual([key]);
  });
});

describe('a schema that is open', () => {
  const open = configSchema(hubs, { open: true });

  it('takes settings of hubs that are not known, and no others', () => {
    expect(v.is(open, { hubs: { other: { url: 'x', pages: 3, strict: true, list: ['y'] } } })).toBe(true);
    for (const document of [
      { hubs: { acme: { endpont: 'x' } } },
      { hubs: { other: { deep: { url: 'x' } } } },
      { hubs: { other: 'x' } },
      { job: 1 },
    ])
      expect(v.is(open, document), JSON.stringify(document)).toBe(false);
  });

  it('knows the keys of those that are known', () => {
    expect(knownKeys(open)).toEqual(knownKeys(configSchema(hubs)));
  });
});

describe('knownKeys', () => {
  it('are those of the program and of its hubs', () => {
    const known = knownKeys(schema);
    expect(known).toEqual(
      expect.arrayContaining(['cacheDir', 'proxy.no', 'convert.check', 'toolchains.interpreters.<name>']),
    );
    expect(known).toEqual(
      expect.arrayContaining(['hubs.hf.endpoint', 'hubs.url.allow', 'hubs.npm.endpoint']),
    );
    expect(new Set(known).size).toBe(known.length);
    for (const [key] of leaves(DEFAULTS)) expect(known).toContain(key);
  });
});

describe('nearestKey', () => {
  it.each([
    ['job', 'jobs'],
    ['cachedir', 'cacheDir'],
    ['convert.precison', 'convert.precision'],
    ['precision', 'convert.precision'],
    ['hubs.hff', 'hubs.hf'],
    ['hubs.hf.endpont', 'hubs.hf.endpoint'],
    ['hubs.url.alow', 'hubs.url.allow'],
    ['proxies', 'proxy'],
  ])('%s → %s', (key, expected) => {
    expect(nearestKey(key, schema)).toBe(expected);
  });
});

describe('needsTrust', () => {
  it.each([
    ['cacheDir', true],
    ['caFile', true],
    ['proxy.https', true],
    ['toolchains.python', true],
    ['toolchains.interpreters.openvino', true],
    ['hubs.acme.endpoint', true],
    ['hubs.acme.mirrors', true],
    ['hubs.acme.pageSize', false],
    ['$schema', false],
    ['convert.precision', false],
    ['convert.check', false],
    ['offline', true],
    ['durability', true],
    ['toolchains.install', true],
    ['plugins', true],
    ['jobs', true],
    ['limitRate', true],
    ['maxWait', true],
  ])('%s: %s', (key, expected) => {
    expect(needsTrust(key, hubs)).toBe(expected);
  });
});
