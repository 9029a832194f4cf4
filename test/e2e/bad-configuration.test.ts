import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal, type Refusal } from '../helpers/refused.js';

const TOKEN = 'hf_abcdefghijklmnopqrst';
const CONFIG = 'modeldl.config.json';

let world: World;

beforeEach(async () => {
  world = await createWorld();
});

afterEach(async () => {
  await world.remove();
});

async function write(path: string, content: string): Promise<string> {
  const file = join(world.directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

type Row = readonly [what: string, file: string, content: string, refusal: Omit<Refusal, 'code'>];

describe('a configuration file is refused, with its path and the key,', () => {
  it.each<Row>([
    ['for an unknown key', CONFIG, '{"job":2}', { message: /`job`/, hint: /`jobs`/ }],
    [
      'for an unknown key of a group',
      CONFIG,
      '{"convert":{"precison":"int8"}}',
      { message: /`convert\.precison`/, hint: /`convert\.precision`/ },
    ],
    ['for an unknown hub', CONFIG, '{"hubs":{"hff":{}}}', { message: /`hubs\.hff`/, hint: /`hubs\.hf`/ }],
    [
      'for an unknown key of a hub',
      CONFIG,
      '{"hubs":{"hf":{"endpont":"https://x"}}}',
      { message: /`hubs\.hf\.endpont`/, hint: /`hubs\.hf\.endpoint`/ },
    ],
    [
      'for a value of another type',
      CONFIG,
      '{"jobs":"many"}',
      { message: /`jobs`.*expected/, hint: /correct the value/ },
    ],
    ['that is a list', CONFIG, '["jobs"]', { message: /Expected keys/, hint: /"convert"/ }],
    ['that is a word', '.modeldlrc', 'jobs', { message: /Expected keys/, hint: /"convert"/ }],
    ['that is no JSON', CONFIG, '{"jobs":', { message: /Cannot parse/, hint: /JSON/ }],
    ['that is no YAML', 'modeldl.config.yaml', 'jobs: [1', { message: /Cannot parse/, hint: /YAML/ }],
    ['in package.json', 'package.json', '{"modeldl":{"job":2}}', { message: /`job`/, hint: /`jobs`/ }],
    [
      'for a token under any key',
      CONFIG,
      `{"hubs":{"hf":{"token":"${TOKEN}"}}}`,
      { message: /must not hold a token.*`hubs\.hf\.token`/, hint: /revoke.*modeldl login/, secret: TOKEN },
    ],
    [
      'for a token that is given as something else',
      CONFIG,
      `{"cacheDir":"${TOKEN}"}`,
      { message: /must not hold a token.*`cacheDir`/, hint: /modeldl login/, secret: TOKEN },
    ],
    [
      'for a token that does not look like one',
      CONFIG,
      '{"hubs":{"hf":{"token":"plain-words-as-a-mirror-gives"}}}',
      { message: /`hubs\.hf\.token`/, hint: /modeldl login/, secret: 'plain-words' },
    ],
    [
      'for a password in an address',
      CONFIG,
      '{"proxy":{"https":"http://alice:hunter2@127.0.0.1:1"}}',
      { message: /not trusted/, hint: /proxy\.https/, secret: 'hunter2' },
    ],
    [
      'for an endpoint, until it is trusted',
      CONFIG,
      '{"hubs":{"hf":{"endpoint":"http://127.0.0.1:1"}}}',
      { message: /not trusted/, hint: /hubs\.hf\.endpoint.*modeldl config trust/ },
    ],
  ])('%s', async (_what, name, content, refusal) => {
    const file = await write(name, content);
    const { error } = await expectRefusal(world, ['pull', 'hf:org/name'], { code: 'CONFIG', ...refusal });
    expect(error.message).toContain(file);
    expect(error.file).toBe(file);
  });

  it.each<Row>([
    ['that is not there', '', '', { message: /missing\.json/, hint: /--config/ }],
    ['that is a directory', 'missing.json/x', '', { message: /missing\.json/, hint: /--config/ }],
  ])('named by --config, %s', async (_what, name, content, refusal) => {
    if (name !== '') await write(name, content);
    await expectRefusal(world, ['list', '--config', 'missing.json'], { code: 'CONFIG', ...refusal });
  });
});

describe('an environment variable is refused by its name', () => {
  it.each<readonly [Readonly<Record<string, string>>, Omit<Refusal, 'code'>]>([
    [{ HF_ENDPOINT: 'mirror.example' }, { message: /HF_ENDPOINT/, hint: /https:\/\// }],
    [
      { HF_ENDPOINT: 'https://alice:hunter2@127.0.0.1' },
      { message: /HF_ENDPOINT/, hint: /https:\/\//, secret: 'hunter2' },
    ],
    [{ MODELDL_CONFIG: 'missing.json' }, { message: /missing\.json/, hint: /MODELDL_CONFIG/ }],
    [
      { HTTP_PROXY: 'socks5://127.0.0.1:1', HF_ENDPOINT: 'http://hub.invalid' },
      { message: /Not an http or https proxy: socks5:\/\/127\.0\.0\.1:1/, hint: /HTTP_PROXY/ },
    ],
    [{ SSL_CERT_FILE: '/missing.pem' }, { message: /\/missing\.pem/, hint: /SSL_CERT_FILE/ }],
  ])('%j', async (environment, refusal) => {
    await expectRefusal(world, ['pull', 'hf:org/name'], { code: 'CONFIG', environment, ...refusal });
  });

  it('and a cache that is a file by its path', async () => {
    const file = await write('cache-file', '');
    await expectRefusal(world, ['list'], {
      code: 'DISK',
      message: new RegExp(file),
      hint: /MODELDL_CACHE_DIR/,
      environment: { MODELDL_CACHE_DIR: file },
    });
  });
});
