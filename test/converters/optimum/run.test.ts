/** What a worker is given, seen by one that tells it: a script in the place of Python. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { optimum } from '../../../converters/optimum.js';
import { converterContext, fakePython } from '../../helpers/interpreter.js';
import { accepted, conversionRequest, plannedModel } from '../../helpers/planned-model.js';
import { temporaryDirectory, temporaryStore } from '../../helpers/store.js';
import type { ConversionRequest, LocalModel } from '../../../src/converter.js';

const FILES = {
  'config.json': { model_type: 'llama', architectures: ['LlamaForCausalLM'] },
  'modeling_own.py': 'pass',
  'model.safetensors': 4000,
};

/** Variables of the worker's environment. */
async function environmentOf(request: Partial<ConversionRequest>): Promise<Readonly<Record<string, string>>> {
  const root = await temporaryDirectory();
  const planned = plannedModel(FILES);
  for (const { path } of planned.files) await writeFile(join(root, path), '');
  const model: LocalModel = {
    ...planned,
    root,
    files: planned.files.map((file) => ({ ...file, sha256: '0'.repeat(64) })),
  };
  const { bin } = await fakePython({
    worker: ['env', `echo '{"type":"result","versions":{},"warnings":[]}' >&3`],
  });
  const context = await converterContext(await temporaryStore(), {
    environment: {
      PATH: `${bin}:/usr/bin:/bin`,
      HF_TOKEN: 'secret',
      HF_ENDPOINT: 'http://mirror',
      OTHER_TOKEN: 'x',
    },
    settings: { torch: 'index' },
  });
  const plan = accepted(await optimum.plan(model, conversionRequest(request)));
  await optimum.run(model, plan, join(context.workDir, 'out'), context);
  const lines = (await readFile(context.logFile, 'utf8')).split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)]),
  );
}

describe('the environment of a worker', () => {
  const withData = {
    precision: 'int4',
    settings: { dataset: 'wikitext2', 'scale-estimation': 'true' },
  } as const;

  it('holds no token and switches the hub off where nothing is fetched', async () => {
    const environment = await environmentOf({});
    expect(environment).toMatchObject({ HF_HUB_OFFLINE: '1', TORCH_FORCE_WEIGHTS_ONLY_LOAD: '1' });
    expect(environment).not.toHaveProperty('HF_ENDPOINT');
    expect(environment).not.toHaveProperty('HF_TOKEN');
  });

  it('holds what a data set is fetched with', async () => {
    const environment = await environmentOf(withData);
    expect(environment).toMatchObject({
      HF_HUB_OFFLINE: '0',
      HF_TOKEN: 'secret',
      HF_ENDPOINT: 'http://mirror',
    });
    expect(environment).not.toHaveProperty('OTHER_TOKEN');
  });

  it('shows no token to code that comes with the model', async () => {
    const environment = await environmentOf({ ...withData, trustRemoteCode: true });
    expect(environment).toMatchObject({ HF_HUB_OFFLINE: '0', HF_ENDPOINT: 'http://mirror' });
    expect(environment).not.toHaveProperty('HF_TOKEN');
  });
});
