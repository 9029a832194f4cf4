/** Models of hubs with names, revisions and listings of their own, brought to a machine that may ask nobody. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startGeti } from '../helpers/geti.js';
import { startOllamaRegistry } from '../helpers/ollama-registry.js';
import { startServer } from '../hubs/server.js';
import { tar } from '../transfer/make-archive.js';
import { machine } from './machines.js';

/** What is asked for by these references, and may be found by them again. */
async function expectBrought(
  references: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const [here, there] = [await machine('http://127.0.0.1:9'), await machine()];
  const output = join(here.directory, 'models.tar');
  const online = await here.open({ environment });
  const created = await online.createBundle({ output, references });
  if ('errors' in created) throw created.errors[0] ?? new Error('no bundle');
  const pulled = await online.pull(references);
  const offline = await there.open();
  const imported = await offline.importBundle(output);
  const found = await offline.pull(references);
  expect(found.errors).toEqual([]);
  expect(found.results.map(({ reference, files }) => [reference, files])).toEqual(
    pulled.results.map(({ reference, files }) => [reference, files]),
  );
  const named = await offline.pull(imported.models.map(({ reference }) => reference));
  expect(named.errors).toEqual([]);
  const again = join(there.directory, 'again.tar');
  expect(await offline.createBundle({ output: again, references })).toMatchObject({
    bundle: { digest: created.bundle.digest },
  });
  expect((await offline.verify([], { repair: false })).every(({ ok }) => ok)).toBe(true);
  expect(await readdir(join(there.cacheDir, 'v1', 'tmp'))).toEqual([]);
}

describe('a bundle', () => {
  it('of models of Ollama', async () => {
    const layers = [{ kind: 'model' as const, bytes: Buffer.alloc(4096, 'gguf') }];
    const registry = await startOllamaRegistry({
      models: ['library/tiny:latest', 'user/tiny:1b'].map((name) => ({ name, layers })),
    });
    onTestFinished(() => registry.close());
    const { host } = new URL(registry.endpoint);
    await expectBrought([`ollama:${host}/library/tiny`, `ollama:${host}/user/tiny:1b`]);
  });

  it('of files and archives of web addresses', async () => {
    const archive = tar([
      { name: 'model.onnx', content: 'graph' },
      { name: 'labels/labels.txt', content: 'cat' },
    ]);
    const server = await startServer((_request, path) => ({ body: path === '/m.tar' ? archive : 'onnx' }));
    onTestFinished(() => server.close());
    const { origin } = server;
    await expectBrought([
      `${origin}/m.onnx`,
      `${origin}/m.tar`,
      `${origin}/m.tar#unpack`,
      `${origin}/m.tar//labels`,
    ]);
  });

  it('of trained models of Geti', async () => {
    const files = { 'model/model.xml': '<net/>', 'model/model.bin': 'weights' };
    const variants = ['FP16', 'INT8'].map((precision) => ({ format: 'OpenVINO', precision, files }));
    const models = [{ name: 'SSD', versions: [{ created: '2026-01-05T10:00:00+00:00', variants }] }];
    const server = await startGeti({ generation: 3, projects: [{ name: 'shop', models }] });
    onTestFinished(() => server.close());
    await expectBrought(['geti:shop/SSD', 'geti:shop/SSD//openvino-int8'], { GETI_HOST: server.endpoint });
  });
});
