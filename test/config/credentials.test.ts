import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { findCredential, removeCredential, saveCredential } from '../../src/config/credentials.js';
import type { Credential, CredentialSpec } from '../../src/hub.js';
import { temporaryDirectory } from '../helpers/store.js';

const ENDPOINT = 'https://acme.example/api';
const ORIGIN = 'https://acme.example';

let configDir: string;
let toolFile: string;
let warnings: string[];

beforeEach(async () => {
  configDir = await temporaryDirectory();
  toolFile = join(configDir, 'tool-token');
  warnings = [];
});

function find(
  environment: Readonly<Record<string, string>> = {},
  given: { readonly endpoint?: string; readonly endpointIsUsers?: boolean } = {},
): Promise<Credential | undefined> {
  const spec: CredentialSpec = {
    environment: ['ACME_TOKEN', 'ACME_OLD_TOKEN'],
    files: () => [join(configDir, 'missing'), toolFile],
    endpoint: () => given.endpoint ?? ENDPOINT,
    whoami: () => Promise.resolve({ name: 'alice' }),
  };
  return findCredential({
    hub: 'acme',
    spec,
    settings: { settings: {}, environment, home: configDir },
    configDir,
    endpointIsUsers: given.endpointIsUsers ?? true,
    warn: (message) => warnings.push(message),
  });
}

describe('which token is used', () => {
  it('none, when there is none', async () => {
    expect(await find()).toBeUndefined();
    expect(await find({ ACME_TOKEN: '  ' })).toBeUndefined();
    await writeFile(toolFile, '\n', { mode: 0o600 });
    expect(await find()).toBeUndefined();
  });

  it('of the environment, then of `modeldl login`, then of the other tool', async () => {
    await writeFile(toolFile, 'of-the-tool\n', { mode: 0o600 });
    expect(await find()).toEqual({ token: 'of-the-tool', source: `the file ${toolFile}` });
    await saveCredential(configDir, 'acme', ORIGIN, 'of-login');
    expect(await find()).toEqual({ token: 'of-login', source: '`modeldl login`' });
    expect(await find({ ACME_OLD_TOKEN: 'old' })).toEqual({
      token: 'old',
      source: 'the environment variable ACME_OLD_TOKEN',
    });
    expect(await find({ ACME_OLD_TOKEN: 'old', ACME_TOKEN: ' new\n' })).toEqual({
      token: 'new',
      source: 'the environment variable ACME_TOKEN',
    });
    expect(warnings).toEqual([]);
  });

  it.each([
    'https://acme.example:8443',
    'http://acme.example',
    'https://evil.example',
    'https://acme.example.evil',
  ])('of `modeldl login` never at %s', async (endpoint) => {
    await saveCredential(configDir, 'acme', ORIGIN, 'of-login');
    expect(await find({}, { endpoint })).toBeUndefined();
  });

  it('another hub has its own', async () => {
    await saveCredential(configDir, 'other', ORIGIN, 'of-login');
    expect(await find()).toBeUndefined();
  });

  it('an endpoint that a project set gets nothing but what was saved for it', async () => {
    await writeFile(toolFile, 'of-the-tool', { mode: 0o600 });
    const project = { endpoint: 'https://mirror.example', endpointIsUsers: false };
    expect(await find({ ACME_TOKEN: 'of-the-environment' }, project)).toBeUndefined();
    await saveCredential(configDir, 'acme', 'https://mirror.example', 'for-the-mirror');
    expect((await find({ ACME_TOKEN: 'of-the-environment' }, project))?.token).toBe('for-the-mirror');
  });
});

describe('the file of saved tokens', () => {
  const file = (): string => join(configDir, 'credentials.json');

  it('is for the user alone', async () => {
    await saveCredential(configDir, 'acme', ORIGIN, 'of-login');
    expect((await stat(file())).mode & 0o777).toBe(0o600);
  });

  it.each(['login', 'tool'] as const)('warns when others can read the token of the %s', async (which) => {
    if (which === 'login') await saveCredential(configDir, 'acme', ORIGIN, 'of-login');
    else await writeFile(toolFile, 'of-the-tool');
    const path = which === 'login' ? file() : toolFile;
    await chmod(path, 0o640);
    expect(await find()).toBeDefined();
    expect(warnings).toEqual([`Others can read the token in ${path}: run \`chmod 600 ${path}\``]);
  });

  it('keeps one token for a hub, and forgets only that', async () => {
    await saveCredential(configDir, 'acme', ORIGIN, 'first');
    await saveCredential(configDir, 'acme', ORIGIN, 'second');
    await saveCredential(configDir, 'other', ORIGIN, 'third');
    expect((await find())?.token).toBe('second');
    expect(await removeCredential(configDir, 'acme')).toBe(true);
    expect(await removeCredential(configDir, 'acme')).toBe(false);
    expect(await find()).toBeUndefined();
    expect(await readFile(file(), 'utf8')).toContain('third');
    expect(await readFile(file(), 'utf8')).not.toContain('second');
  });

  it.each(['{', '{"acme":{"token":"x"}}', '[]'])('damaged (%s), it holds none', async (content) => {
    await writeFile(file(), content);
    expect(await find()).toBeUndefined();
  });
});
