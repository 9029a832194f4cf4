/** Models of an Ollama registry through the built program, beside the store of an Ollama on this machine. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  manifestOf,
  sha256Of,
  startOllamaRegistry,
  type OllamaRegistry,
  type RegistryModel,
  type RegistryOptions,
} from '../helpers/ollama-registry.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { writeOllamaKey } from '../helpers/ssh-key.js';
import { selfSigned } from '../transfer/certificate.js';

const MiB = 1024 * 1024;
/** Above the size that is fetched in one go. */
const GGUF = Buffer.alloc(9 * MiB, 'GGUF weights ');
const OTHER = Buffer.alloc(9 * MiB, 'GGUF others! ');
const SYSTEM = Buffer.from('You are a test.');
const CONFIG = { model_format: 'gguf', model_type: '1.2B', file_type: 'Q8_0' };
const MODEL: RegistryModel = {
  name: 'library/llama3.2:1b',
  config: CONFIG,
  layers: [
    { kind: 'model', bytes: GGUF },
    { kind: 'system', bytes: SYSTEM },
  ],
};
const MOVED: RegistryModel = { ...MODEL, layers: [{ kind: 'model', bytes: OTHER }] };
const PRIVATE: RegistryModel = { ...MODEL, name: 'me/secret:latest', isPrivate: true };
const HEX = sha256Of(Buffer.from(manifestOf(MODEL.layers, CONFIG)));
const PINNED = `ollama:llama3.2:1b@sha256:${HEX}`;
const WEIGHTS = 'llama3.2-1.2B-Q8_0.gguf';

let registry: OllamaRegistry;
let world: World;

beforeEach(async () => {
  world = await createWorld();
  await start();
});
afterEach(async () => {
  await world.remove();
  await registry.close();
});

async function start(more: Partial<RegistryOptions> = {}): Promise<void> {
  registry = await startOllamaRegistry({ models: [MODEL, PRIVATE], ...more });
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  const hubs = { ollama: { endpoint: registry.endpoint } };
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs }));
}

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--max-wait', '1ms');
}

async function pulled(...args: readonly string[]): Promise<string> {
  const run = await pull(...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return run.stdout;
}

function requests(): number {
  return registry.site.requests.length + registry.storage.requests.length;
}

async function nothingStored(): Promise<void> {
  expect((await world.run('list', '--quiet')).stdout).toBe('');
}

describe('a model of Ollama', () => {
  it('is a directory of readable files, pinned by its digest', async () => {
    const path = await pulled('ollama:llama3.2:1b');
    expect((await readdir(path)).sort()).toEqual(
      [WEIGHTS, 'Modelfile', 'image.json', 'manifest.json', 'system'].sort(),
    );
    expect((await readFile(join(path, WEIGHTS))).equals(GGUF)).toBe(true);
    expect(await readFile(join(path, 'Modelfile'), 'utf8')).toBe(
      `FROM ./${WEIGHTS}\nSYSTEM You are a test.\n`,
    );
    expect(sha256Of(await readFile(join(path, 'manifest.json')))).toBe(HEX);
    expect((await world.run('list', '--quiet')).stdout).toBe(PINNED);
    const before = requests();
    expect(await pulled(PINNED)).toBe(path);
    expect((await world.run('path', 'ollama:llama3.2:1b')).stdout).toBe(path);
    expect(requests()).toBe(before);
    expect(await pulled('ollama:llama3.2:1b')).toBe(path);
    expect(requests()).toBe(before + 1);
    expect(await pulled(`${PINNED}//${WEIGHTS}`)).toMatch(/\.gguf$/);
  });

  it('is what a digest says also when the tag has moved on', async () => {
    const first = await pulled('ollama:llama3.2:1b');
    registry.push(MOVED);
    const second = await pulled('ollama:llama3.2:1b');
    expect((await readFile(join(second, WEIGHTS))).equals(OTHER)).toBe(true);
    expect((await readFile(join(first, WEIGHTS))).equals(GGUF)).toBe(true);
    expect((await world.run('remove', PINNED, '--prune', '-y')).exitCode).toBe(0);
    expect(await pulled(PINNED)).toBe(first);
  });

  it('is linked from the store of an Ollama that has it', async () => {
    const blobs = join(world.directory, '.ollama/models/blobs');
    await mkdir(blobs, { recursive: true });
    await writeFile(join(blobs, `sha256-${sha256Of(GGUF)}`), GGUF);
    const run = await pull('ollama:llama3.2:1b');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain('1 file was linked from the Ollama store');
    expect(registry.asked().join()).not.toContain(sha256Of(GGUF));
  });

  it('comes with the key of an account, which nobody else sees and nothing tells', async () => {
    const anonymous = await pull('ollama:me/secret');
    expect(anonymous.exitCode).toBe(4);
    expect(anonymous.stderr).toContain('no key in');
    const key = await writeOllamaKey(world.directory);
    const unknown = await pull('ollama:me/secret');
    expect(unknown.exitCode).toBe(4);
    expect(unknown.stderr).toContain('does not accept the key in');
    await registry.close();
    await start({ keys: [key] });
    const run = await pull('ollama:me/secret', '--verbose', '--progress', 'json');
    expect(run.exitCode, run.stderr).toBe(0);
    const sent = registry.site.requests.flatMap(({ headers }) => headers.authorization ?? []);
    expect(sent.some((header) => header.startsWith('Bearer '))).toBe(true);
    for (const header of sent)
      expect(`${run.stdout}${run.stderr}`).not.toContain(header.replace('Bearer ', ''));
    expect(registry.storage.requests.some(({ headers }) => headers.authorization !== undefined)).toBe(false);
  });

  it('comes from a registry with an authority of its own', async () => {
    const certificate = await selfSigned('IP:127.0.0.1');
    await registry.close();
    await start({ certificate });
    const plain = { SSL_CERT_FILE: '', NODE_EXTRA_CA_CERTS: '' };
    const refused = await world.runWith(plain, 'pull', 'ollama:llama3.2:1b', '--max-wait', '1ms');
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('certificate');
    const file = join(world.directory, 'authority.pem');
    await writeFile(file, certificate.cert);
    const run = await world.runWith({ ...plain, SSL_CERT_FILE: file }, 'pull', 'ollama:llama3.2:1b');
    expect(run.exitCode, run.stderr).toBe(0);
  });
});

describe('what is no model of Ollama, or not what it says', () => {
  it.each([
    ['ollama:lama3.2', 3, 'There is no model lama3.2'],
    ['ollama:llama3.2:70b', 3, 'https://ollama.com/library/llama3.2/tags'],
    ['ollama:a/b/c:d', 2, 'more parts than host, namespace and model'],
    ['llama3.2:1b', 2, 'did you mean `ollama:llama3.2:1b`'],
  ])('%s ends with %s', async (reference, code, message) => {
    const run = await pull(reference);
    expect(run.exitCode).toBe(code);
    expect(run.stderr).toContain(message);
    await nothingStored();
  });

  it('is refused when other weights come than the manifest names', async () => {
    registry.swap(GGUF, OTHER);
    const run = await pull('ollama:llama3.2:1b');
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain(WEIGHTS);
    await nothingStored();
  });

  it('is refused when a layer would lie outside', async () => {
    registry.push({
      ...MODEL,
      layers: [...MODEL.layers, { kind: 'json', bytes: SYSTEM, name: '../../escape.json' }],
    });
    const run = await pull('ollama:llama3.2:1b');
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('escape.json');
    await nothingStored();
  });

  it('leaves what is stored in its place when the registry fails', async () => {
    const path = await pulled('ollama:llama3.2:1b');
    registry.setFault('503');
    const run = await pull('ollama:llama3.2:1b');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toBe(path);
    expect(run.stderr).toContain('using the stored revision');
    expect((await pull('ollama:llama3.2:1b', '--refresh')).exitCode).toBe(5);
  });
});
