import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { setUserValue, userConfigPath } from '../../src/config/user-file.js';
import { configurationSchema } from '../../src/index.js';
import { refusalOf } from '../helpers/hub-context.js';
import { temporaryDirectory } from '../helpers/store.js';

const schema = configurationSchema();
let directory: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

async function set(key: string, text: string): Promise<unknown> {
  return JSON.parse(await readFile(await setUserValue(directory, key, text, schema), 'utf8'));
}

describe('setUserValue', () => {
  it.each<readonly [string, string, object]>([
    ['jobs', '8', { jobs: 8 }],
    ['offline', 'true', { offline: true }],
    ['limitRate', '20M', { limitRate: '20M' }],
    ['limitRate', '1000000', { limitRate: '1000000' }],
    ['convert.precision', 'int4', { convert: { precision: 'int4' } }],
    ['hubs.hf.endpoint', 'https://mirror', { hubs: { hf: { endpoint: 'https://mirror' } } }],
    ['hubs.url.allow', '["https://host/"]', { hubs: { url: { allow: ['https://host/'] } } }],
    [
      'toolchains.interpreters.openvino',
      '/bin/python',
      { toolchains: { interpreters: { openvino: '/bin/python' } } },
    ],
  ])('%s to %s', async (key, text, expected) => {
    expect(await set(key, text)).toEqual(expected);
  });

  it('keeps what is set already, for the user alone', async () => {
    await set('convert.precision', 'int4');
    await set('jobs', '8');
    expect(await set('convert.device', 'GPU')).toEqual({
      convert: { precision: 'int4', device: 'GPU' },
      jobs: 8,
    });
    expect((await stat(await userConfigPath(directory))).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['job', '8', 'Unknown key `job`', '`jobs`'],
    ['jobs', 'many', 'expected number, got "many"', 'README.md lists'],
    ['jobs', '0', 'Wrong value for `jobs`', 'README.md lists'],
    ['convert', 'int8', 'Wrong value for `convert`', 'README.md lists'],
    ['cache.readFrom', '/models', 'expected a list, got "/models"', 'as JSON, such as `["/models"]`'],
    ['hubs.hf.endpont', 'x', 'Unknown key `hubs.hf.endpont`', '`hubs.hf.endpoint`'],
    ['hubs.file.endpoint', 'x', 'Unknown key `hubs.file.endpoint`', 'hubs.'],
    ['hubs.hff.endpoint', 'https://x', 'Unknown key `hubs.hff`', '`hubs.hf`'],
    ['hubs.hf.token', 'secret', 'must not hold a token', 'modeldl login'],
    ['cacheDir', 'hf_abcdefghijklmnop', 'must not hold a token', 'modeldl login'],
    ['__proto__.jobs', '8', 'Expected a key', 'config list'],
    ['convert..device', 'CPU', 'Expected a key', 'config list'],
  ])('refuses %s to %s and writes nothing', async (key, text, message, hint) => {
    const error = await refusalOf(setUserValue(directory, key, text, schema), 'CONFIG');
    expect(error.message).toContain(message);
    expect(error.message).not.toContain('hf_abc');
    expect(error.hint).toContain(hint);
    await expect(stat(join(directory, 'config.json'))).rejects.toThrow('ENOENT');
  });

  it('does not put a JSON file in front of a YAML one', async () => {
    const yaml = join(directory, 'config.yaml');
    await writeFile(yaml, 'jobs: 2');
    expect(await userConfigPath(directory)).toBe(yaml);
    const error = await refusalOf(setUserValue(directory, 'jobs', '8', schema), 'CONFIG');
    expect(error.message).toContain(yaml);
  });

  it('does not overwrite what it cannot read', async () => {
    await writeFile(join(directory, 'config.json'), '{"jobs":');
    await refusalOf(setUserValue(directory, 'jobs', '8', schema), 'CONFIG');
    expect(await readFile(join(directory, 'config.json'), 'utf8')).toBe('{"jobs":');
  });
});
