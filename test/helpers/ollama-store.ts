/** The store of an Ollama as Ollama's own Go code reads it: what `ollama list` and `ollama create` are made of. */
import { execFile } from 'node:child_process';
import { access, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { hasProgram } from './require.js';
import { sha256Of } from './ollama-registry.js';

/** A release whose behaviour the tests were written for; another gets a folder of its own. */
const VERSION = 'v0.17.4';
/** Fetching and building take half a minute on two cores, milliseconds. */
const BUILD_MS = 600_000;
const SOURCE = fileURLToPath(new URL('ollama_store.go', import.meta.url));

const configSchema = v.object({
  model_format: v.string(),
  model_family: v.string(),
  model_type: v.string(),
  file_type: v.string(),
  rootfs: v.object({ type: v.string(), diff_ids: v.nullable(v.array(v.string())) }),
});
const listSchema = v.array(
  v.object({
    Name: v.string(),
    Digest: v.string(),
    Size: v.number(),
    Config: configSchema,
    Made: configSchema,
  }),
);

/** Lists a store: each model with its configuration, and with what Ollama's code reads in its weights (`Made`). */
export type ReadOllamaStore = (directory: string) => Promise<v.InferOutput<typeof listSchema>>;

const run = promisify(execFile);

/** As `orasClient`: built once, from the module proxy, into the cache of the tests; undefined without Go. */
export async function ollamaStoreReader(): Promise<ReadOllamaStore | undefined> {
  const cache = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
  const version = `${VERSION}-${sha256Of(await readFile(SOURCE)).slice(0, 8)}`;
  const program = join(cache, `ollama-store-${version}`);
  try {
    await access(program).catch(() => build(cache, program));
  } catch {
    return undefined;
  }
  return async (directory) => {
    const environment = { PATH: process.env['PATH'] ?? '', HOME: directory, OLLAMA_MODELS: directory };
    const { stdout } = await run(program, [], { env: environment });
    return v.parse(listSchema, JSON.parse(stdout));
  };
}

async function build(cache: string, program: string): Promise<void> {
  if (!hasProgram('go', ['version'])) throw new Error('no Go');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'ollama-store-build-'));
  const source = join(work, 'source');
  try {
    await mkdir(source);
    await copyFile(SOURCE, join(source, 'main.go'));
    await writeFile(
      join(source, 'go.mod'),
      `module store\n\ngo 1.24\n\nrequire github.com/ollama/ollama ${VERSION}\n`,
    );
    await run('go', ['build', '-o', join(work, 'program'), '.'], {
      cwd: source,
      env: {
        ...process.env,
        GOPATH: join(work, 'path'),
        GOCACHE: join(work, 'cache'),
        // Modules that may be written can be removed.
        GOFLAGS: '-modcacherw -mod=mod',
      },
      timeout: BUILD_MS,
    });
    await rename(join(work, 'program'), program);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
