import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { openvino } from '../../hubs/openvino.js';
import type { ErrorCode, ModeldlError } from '../../src/errors.js';
import { createModeldl, type Modeldl, type ModeldlOptions } from '../../src/index.js';
import { builtInPlugins } from '../../src/plugins.js';
import { parseReference, type Reference } from '../../src/reference.js';
import { startHfHub, type HfHub, type HfRepo } from '../helpers/hf-hub.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { rejected } from '../helpers/refused.js';
import { noToolchain, smallConverter } from '../helpers/small-converter.js';
import { temporaryDirectory } from '../helpers/store.js';
import { describeHubConformance, type ServerFault } from './conformance.js';

const TOKEN = 'hf_tokenOfAliceAaaaaaaaaaaaaaa';
const TOKENS = [{ token: TOKEN, user: 'alice' }];
const FILES = {
  'openvino_model.xml': '<net/>',
  'openvino_model.bin': Buffer.alloc(70_000, 7),
  'openvino_tokenizer.xml': '<net/>',
  'openvino_config.json': JSON.stringify({ dtype: 'int8' }),
};
const published = (name: string, files: HfRepo['files'] = FILES): HfRepo => ({
  id: `OpenVINO/${name}`,
  files,
  license: 'apache-2.0',
});
const REPOS = [
  published('Qwen3-8B-int8-ov'),
  published('Qwen3-8B-int4-ov', { ...FILES, 'openvino_config.json': '{"dtype":"int4"}' }),
  published('Qwen3-8B-int4-cw-ov'),
  published('Qwen3-0.6B-fp16-ov'),
  published('Odd-fp16-ov'),
  { ...published('whisper-tiny-fp16-ov'), tags: { 'v1.0': { 'openvino_model.xml': '<net/>' } } },
  { id: 'other/Qwen3-8B', files: FILES },
];

const faults: Readonly<Record<Exclude<ServerFault, 'none'>, Parameters<HfHub['addFault']>[0]>> = {
  '503': { kind: { status: 503 } },
  html: { kind: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Log in</html>' } },
  silent: { kind: { never: true } },
};

describeHubConformance('openvino', async () => {
  const hub = await startHfHub({ repos: REPOS, tokens: TOKENS });
  return {
    hub: openvino,
    options: {
      environment: { HF_ENDPOINT: hub.endpoint },
      credential: { token: TOKEN, source: 'the environment variable HF_TOKEN' },
    },
    model: { text: 'openvino:Qwen3-8B-int8-ov', paths: Object.keys(FILES) },
    unknown: 'openvino:Qwen4-8B-int8-ov',
    search: { text: 'qwen3-8b-int8', finds: ['openvino:Qwen3-8B-int8-ov'] },
    references: [
      'openvino:whisper-tiny-fp16-ov@v1.0//openvino_model.xml',
      'openvino:OpenVINO/gemma-7b-int8-ov',
    ],
    secrets: [TOKEN, 'Bearer'],
    setFault: (fault) => {
      hub.clearFaults();
      if (fault !== 'none') hub.addFault(faults[fault]);
    },
    reached: () => hub.stuck(),
    close: () => hub.close(),
  };
});

function parse(text: string): Reference {
  return parseReference(text, [openvino.syntax], { cwd: '/', home: '/' });
}

describe('references to the organisation OpenVINO', () => {
  it.each(['openvino:OpenVINO/Qwen3-8B-int4-ov@main', 'openvino:openvino/Qwen3-8B-int4-ov@main'])(
    'are read without it: %s',
    (text) => {
      expect(parse(text)).toEqual({ hub: 'openvino', id: 'Qwen3-8B-int4-ov', revision: 'main' });
    },
  );

  it.each([
    ['openvino:Qwen/Qwen3-8B', 'did you mean `hf:Qwen/Qwen3-8B`'],
    ['openvino:a--b', 'without `--`'],
    ['openvino:a@b..c', 'branch'],
  ])('are refused: %s', (text, hint) => {
    let refused: unknown;
    try {
      parse(text);
    } catch (error) {
      refused = error;
    }
    expect(refused).toMatchObject({ code: 'USAGE', hint: expect.stringContaining(hint) as string });
  });
});

describe('models of the organisation OpenVINO', () => {
  let hub: HfHub;
  const contexts: TestHubContext[] = [];

  beforeEach(async () => {
    hub = await startHfHub({ repos: REPOS, tokens: TOKENS });
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await hub.close();
  });

  function refused(text: string, code: ErrorCode, options: TestHubOptions = {}): Promise<ModeldlError> {
    const context = createHubContext(openvino, { environment: { HF_ENDPOINT: hub.endpoint }, ...options });
    contexts.push(context);
    return refusalOf(openvino.resolve(parse(text), context), code);
  }

  it.each([
    ['Qwen3-8B-nf4-ov', 'of that model there are'],
    ['Qwen3-8B', 'of that model there are'],
    ['qwen3-8b-int2-ov', 'the nearest'],
    ['Qwen4-8B-int4-ov', 'the nearest'],
    ['Qwem3-8B-int4-ov', 'the nearest'],
  ])('that are not there are told by what there is: %s', async (id, words) => {
    const error = await refused(`openvino:${id}`, 'NOT_FOUND');
    expect(error.message).toBe(`OpenVINO publishes no ${id}: ${hub.endpoint}/OpenVINO`);
    expect(error.hint).toContain(words);
    expect(error.hint).toContain('`openvino:Qwen3-8B-int4-ov`');
    expect(error.hint).not.toContain('other/');
  });

  it('with no name that is near say where other models are, and where the list is', async () => {
    const error = await refused('openvino:zebra', 'NOT_FOUND');
    expect(error.hint).toContain('any other model is `hf:org/name`');
    const empty = await startHfHub({ repos: [] });
    const none = await refused('openvino:zebra', 'NOT_FOUND', {
      environment: { HF_ENDPOINT: empty.endpoint },
    });
    await empty.close();
    expect(none.hint).toContain('the page lists what there is');
  });

  it('keep what Hugging Face says of a revision, a token and a list that fails', async () => {
    const revision = await refused('openvino:whisper-tiny-fp16-ov@v2', 'NOT_FOUND');
    expect(revision.hint).toContain('v1.0');
    const wrong = { token: 'hf_wrongWrongWrong', source: 'HF_TOKEN' };
    const token = await refused('openvino:Qwen3-8B-int8-ov', 'AUTH', { credential: wrong });
    expect(token.message).toContain('does not accept the token from HF_TOKEN');
    hub.addFault({ matches: /\/api\/models\?/, kind: { status: 500 } });
    const unlisted = await refused('openvino:zebra-int4-ov', 'AUTH');
    expect(unlisted.message).toContain('does not exist at');
  });

  describe('in modeldl', () => {
    let directory: string;
    let told: string[];

    async function open(config: object, options: Partial<ModeldlOptions> = {}): Promise<Modeldl> {
      told = [];
      const configFile = join(directory, 'own.json');
      await writeFile(configFile, JSON.stringify(config));
      const modeldl = await createModeldl({
        cwd: directory,
        home: directory,
        environment: {},
        cacheDir: join(directory, 'cache'),
        configFile,
        emit: (event) => {
          if (event.type === 'note' || event.type === 'warning') told.push(event.message);
        },
        plugins: { ...builtInPlugins(), converters: [smallConverter(['x.onnx'])], toolchains: [noToolchain] },
        ...options,
      });
      onTestFinished(() => modeldl.close());
      return modeldl;
    }
    beforeEach(async () => {
      directory = await temporaryDirectory();
    });

    it('use the endpoint and token of `hf`', async () => {
      const modeldl = await open({}, { environment: { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN } });
      const { results } = await modeldl.pull(['openvino:Qwen3-8B-int8-ov']);
      const commit = hub.commitOf('OpenVINO/Qwen3-8B-int8-ov');
      expect(results[0]).toMatchObject({
        hub: 'openvino',
        reference: `openvino:Qwen3-8B-int8-ov@${commit}`,
        license: 'apache-2.0',
      });
      expect(hub.requests.some(({ headers }) => headers.authorization === `Bearer ${TOKEN}`)).toBe(true);
      hub.clearRequests();
      const offline = await open({}, { offline: true });
      expect((await offline.pull(['openvino:Qwen3-8B-int8-ov'])).errors).toEqual([]);
      expect(hub.requests).toEqual([]);
    });

    it('take one login with it', async () => {
      const environment = { HF_ENDPOINT: hub.endpoint };
      const modeldl = await open({}, { environment });
      await modeldl.login('openvino', TOKEN);
      const later = await open({}, { environment });
      expect(await later.whoami('hf')).toMatchObject({ name: 'alice' });
      expect(await later.logout('hf')).toMatchObject({ removed: true });
      expect((await rejected((await open({}, { environment })).whoami('openvino'))).code).toBe('AUTH');
    });

    it('are converted already: by their own names, and with `--prebuilt` by those of models', async () => {
      const modeldl = await open({}, { environment: { HF_ENDPOINT: hub.endpoint } });
      const own = await modeldl.convert('openvino:Qwen3-8B-int8-ov');
      expect(own).toMatchObject({ converter: null, precision: 'int8', prebuilt: { confirmed: true } });
      const taken = await modeldl.convert('openvino:Qwen3-8B', { prebuilt: 'take', precision: 'int4' });
      expect(taken.reference).toContain('openvino:Qwen3-8B-int4-ov@');
      const odd = await rejected(modeldl.convert('openvino:Odd-fp16-ov', { precision: 'fp16' }));
      expect(odd).toMatchObject({ code: 'UNSUPPORTED' });
      expect(odd.message).toContain('its openvino_config.json says int8');
    });
  });
});
