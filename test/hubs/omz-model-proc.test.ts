import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { omz } from '../../hubs/omz.js';
import { compose, readRules, ruleFor, SAMPLES_COMMIT } from '../../hubs/omz/model-proc.js';
import { makeModelProc } from '../../hubs/omz/samples.js';
import type { RemoteFile, Snapshot } from '../../src/hub.js';
import { parseReference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { startZoo, type Zoo } from '../helpers/omz.js';
import { digestOf } from './conformance.js';

const FACE = 'intel/face-detection-retail-0004';
const FACE_SAMPLE = `${SAMPLES_COMMIT}/samples/gstreamer/model_proc/intel/face-detection-retail-0004.json`;
const SAMPLE = Buffer.from(
  '{"input_preproc": [], "output_postproc": [{"converter": "label", "labels": []}, 1]}',
);
const LABELS = 'n01 tench, Tinca tinca\n\n  cat  \r\nhaut garçon\n';
const LABELLED = `{
    "input_preproc": [],
    "output_postproc": [
        {
            "converter": "label",
            "labels": [
                "tench, Tinca tinca",
                "cat",
                "gar\\u00e7on"
            ]
        },
        1
    ]
}`;

describe('a model_proc', () => {
  const made = (sample: string, labels?: string): string =>
    compose(Buffer.from(sample), labels === undefined ? undefined : Buffer.from(labels)).toString('utf8');

  it('is the sample to the letter, or has labels and an indent of 4', () => {
    expect(made(' {"a":1.0}\n')).toBe(' {"a":1.0}\n');
    expect(made(SAMPLE.toString(), LABELS)).toBe(LABELLED);
  });

  it('keeps keys that mean something to JavaScript', () => {
    const text = made(
      '{"__proto__": {"a": 1}, "output_postproc": [{"__proto__": 2, "constructor": 3}]}',
      'x',
    );
    expect(text).toContain('"__proto__": {\n        "a": 1');
    expect(text).toContain('"__proto__": 2,\n            "constructor": 3');
  });

  it.each([
    ['a page', '<html>', undefined, 'no JSON'],
    ['a list', '[]', undefined, 'no JSON object'],
    ['no outputs', '{}', 'x', 'output_postproc'],
    ['outputs of another kind', '{"output_postproc": {"0": {}}}', 'x', 'output_postproc'],
    ['an output of another kind', '{"output_postproc": [[]]}', 'x', 'output_postproc'],
    ['an id alone', '{"output_postproc": [{}]}', 'a b\n\n 12 \n', 'line 3 of the labels has an id without'],
    [
      'a tower of lists',
      `{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}, "output_postproc": [{}]}`,
      'x',
      'too deeply',
    ],
  ])('is not made of %s', (_what, sample, labels, message) => {
    expect(() => made(sample, labels)).toThrow(message);
  });
});

describe('rules for model_proc', () => {
  const inPlace = (path: string): string => `/rules/${path}`;

  it('are built in for three models, and for no other', () => {
    for (const id of ['age-gender-recognition-retail-0013', 'face-detection-retail-0004'])
      expect(ruleFor(id, {}, inPlace)).toMatchObject({ path: `${id}.json` });
    expect(ruleFor('mobilenet-v2-pytorch', {}, inPlace)).toMatchObject({
      path: 'mobilenet-v2.json',
      labels: { sample: 'samples/labels/imagenet_2012.txt' },
    });
    for (const id of ['aclnet', 'constructor', '__proto__']) expect(ruleFor(id, {}, inPlace)).toBeUndefined();
  });

  it('are read as the service has them, and win over those built in', () => {
    const own = readRules(`rules:
  aclnet:
    model_proc_src: aclnet.json
    model_proc_dst: aclnet.json
    labels_src: https://example.com/labels.txt
    inject_labels: true
  age-gender-recognition-retail-0013:
    model_proc_src: https://example.com/age.json
    model_proc_dst: age.json
    labels_src: /labels.txt
  face-detection-retail-0004: null
`);
    expect(ruleFor('aclnet', own, inPlace)).toEqual({
      sample: { file: '/rules/aclnet.json' },
      path: 'aclnet.json',
      labels: { url: 'https://example.com/labels.txt' },
    });
    // Without `inject_labels` the labels are not asked for.
    expect(ruleFor('age-gender-recognition-retail-0013', own, inPlace)).toEqual({
      sample: { url: 'https://example.com/age.json' },
      path: 'age.json',
    });
    expect(ruleFor('face-detection-retail-0004', own, inPlace)).toBeUndefined();
    expect(ruleFor('mobilenet-v2-pytorch', own, inPlace)).toBeDefined();
  });

  it.each([
    ['broken YAML', 'rules: [', 'no YAML'],
    ['no rules', 'models: {}', 'rules'],
    [
      'another key',
      'rules: {a: {model_proc_src: b, model_proc_dst: c.json, label_src: d}}',
      'rules.a.label_src',
    ],
    ['no source', 'rules: {a: {model_proc_dst: c.json}}', 'rules.a.model_proc_src'],
    [
      'a target elsewhere',
      'rules: {a: {model_proc_src: b, model_proc_dst: ../c.json}}',
      'rules.a.model_proc_dst',
    ],
  ])('are refused with %s', (_what, text, message) => {
    expect(() => readRules(text)).toThrow(message);
  });
});

describe('models of Open Model Zoo with a rule', () => {
  let zoo: Zoo;
  let directory: string;
  const contexts: TestHubContext[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'omz-rules-'));
    zoo = await startZoo({
      models: {
        [FACE]: { files: { 'FP16/face-detection-retail-0004.xml': Buffer.from('<net/>') } },
        'public/aclnet': { files: { 'aclnet.json': Buffer.from('{}') }, framework: 'onnx' },
      },
      samples: {
        'own/labels.txt': Buffer.from(LABELS),
        'own/sample.json': SAMPLE,
        'own/page.json': Buffer.from('<html>Log in</html>'),
        'own/large.json': Buffer.alloc(1024 ** 2 + 1, ' '),
        [`${SAMPLES_COMMIT}/samples/some.json`]: SAMPLE,
        // Not the true one, whose digest is known.
        [FACE_SAMPLE]: SAMPLE,
      },
    });
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await zoo.close();
    await rm(directory, { recursive: true });
  });

  function open(
    settings: Readonly<Record<string, string>> = {},
    options: TestHubOptions = {},
  ): TestHubContext {
    const context = createHubContext(omz, {
      settings: { endpoint: zoo.endpoint, samples: zoo.samples, ...settings },
      ...options,
    });
    contexts.push(context);
    return context;
  }
  function resolve(context: TestHubContext, id = 'face-detection-retail-0004'): Promise<Snapshot> {
    return omz.resolve(parseReference(`omz:${id}`, [omz.syntax], { cwd: '/', home: '/' }), context);
  }
  async function rules(of: Readonly<Record<string, unknown>> | string): Promise<Record<string, string>> {
    const path = join(directory, 'rules.yaml');
    await writeFile(path, typeof of === 'string' ? of : JSON.stringify({ rules: of }));
    return { rules: path };
  }
  const rule = (src: string, labels?: string): Readonly<Record<string, unknown>> => ({
    'face-detection-retail-0004': {
      model_proc_src: src,
      model_proc_dst: 'face.json',
      ...(labels === undefined ? {} : { labels_src: labels, inject_labels: true }),
    },
  });
  const paths = ({ files }: Snapshot): readonly string[] => files.map(({ path }) => path);
  async function contentOf(file: RemoteFile | undefined): Promise<string> {
    return (await fetch(file?.url ?? '')).text();
  }

  it('have its file in the listing, with labels, and the same again from a stored one', async () => {
    const settings = await rules(rule(`${zoo.samples}/own/sample.json`, `${zoo.samples}/own/labels.txt`));
    const context = open(settings);
    const snapshot = await resolve(context);
    const file = snapshot.files.at(-1);
    expect(file).toMatchObject({
      path: 'face.json',
      size: LABELLED.length,
      digest: { algorithm: 'sha256', hex: digestOf(Buffer.from(LABELLED), 'sha256') },
    });
    expect(await contentOf(file)).toBe(LABELLED);
    expect(context.warnings).toEqual([]);
    expect(zoo.sampled()).toEqual(['own/sample.json', 'own/labels.txt']);
    const before = zoo.server.requests.length;
    expect(await resolve(open(settings, { known: () => Promise.resolve(snapshot) }))).toEqual(snapshot);
    expect(zoo.server.requests.length).toBe(before);
  });

  it('are had without it where its sample is not, which is asked for again later', async () => {
    const missing = await rules(rule(`${zoo.samples}/own/absent.json`));
    const context = open(missing);
    const bare = await resolve(context);
    expect(paths(bare)).toEqual(['FP16/face-detection-retail-0004.xml']);
    expect(context.warnings).toEqual([
      `face-detection-retail-0004 is without its face.json, for DL Streamer: ${new URL(zoo.samples).host} answered 404: ${zoo.samples}/own/absent.json`,
    ]);
    zoo.swap('own/absent.json', SAMPLE);
    const again = await resolve(open(missing, { known: () => Promise.resolve(bare) }));
    expect(paths(again)).toEqual(['FP16/face-detection-retail-0004.xml', 'face.json']);
    // The description was not asked for again.
    expect(zoo.asked()).toHaveLength(1);
  });

  it('say nothing of it where a part is asked for that it is not in, or that is absent', async () => {
    const missing = await rules(rule(`${zoo.samples}/own/absent.json`));
    const context = open(missing);
    expect(paths(await resolve(context, 'face-detection-retail-0004//FP16'))).toEqual([
      'FP16/face-detection-retail-0004.xml',
    ]);
    expect(context.warnings).toEqual([]);
    const before = zoo.sampled().length;
    await refusalOf(resolve(open(missing), 'face-detection-retail-0004//FP32'), 'NOT_FOUND');
    expect(zoo.sampled()).toHaveLength(before);
    const itself = open(missing);
    await resolve(itself, 'face-detection-retail-0004//face.json');
    expect(itself.warnings).toHaveLength(1);
  });

  it.each([
    ['page.json', 'no JSON'],
    ['large.json', 'answered more than 1048576 bytes'],
  ])('are had without it where the sample is no sample: %s', async (name, message) => {
    const context = open(await rules(rule(`${zoo.samples}/own/${name}`)));
    expect(paths(await resolve(context))).toEqual(['FP16/face-detection-retail-0004.xml']);
    expect(context.warnings[0]).toContain(message);
  });

  it('are had without it where the server cannot be reached', async () => {
    const context = open({ ...(await rules(rule('http://127.0.0.1:1/sample.json'))) });
    expect(paths(await resolve(context))).toEqual(['FP16/face-detection-retail-0004.xml']);
    expect(context.warnings[0]).toContain('127.0.0.1:1');
  });

  it('take samples of DL Streamer by their digests only', async () => {
    const context = open();
    expect(paths(await resolve(context))).toEqual(['FP16/face-detection-retail-0004.xml']);
    expect(zoo.sampled()).toEqual([FACE_SAMPLE]);
    expect(context.warnings[0]).toContain(`other bytes than expected at ${zoo.samples}/${FACE_SAMPLE}`);
    const source = { sample: 'samples/some.json', sha256: digestOf(SAMPLE, 'sha256') };
    const file = await makeModelProc('model', { sample: source, path: 'some.json' }, open());
    expect(await contentOf(file)).toBe(SAMPLE.toString());
  });

  it('ask no other host where an own endpoint is set', async () => {
    const context = createHubContext(omz, { settings: { endpoint: zoo.endpoint } });
    contexts.push(context);
    expect(paths(await resolve(context))).toEqual(['FP16/face-detection-retail-0004.xml']);
    expect(context.warnings[0]).toContain('`hubs.omz.samples`');
    expect(context.events).toEqual([]);
  });

  it('follow files of this machine as they are now', async () => {
    await writeFile(join(directory, 'sample.json'), SAMPLE);
    await writeFile(join(directory, 'labels.txt'), 'one\n');
    const settings = await rules(rule('sample.json', 'labels.txt'));
    const first = await resolve(open(settings));
    await writeFile(join(directory, 'labels.txt'), 'one\ntwo\n');
    const second = await resolve(open(settings, { known: () => Promise.resolve(first) }));
    expect(paths(second)).toEqual(paths(first));
    expect(await contentOf(first.files.at(-1))).not.toContain('"two"');
    expect(await contentOf(second.files.at(-1))).toContain('"two"');
  });

  it.each<[string, Readonly<Record<string, unknown>> | string, string]>([
    ['no YAML', 'rules: [', 'no YAML'],
    ['a file that is not there', rule('absent.json'), 'absent.json'],
    ['a file that is no sample', rule('rules.yaml', 'rules.yaml'), 'output_postproc'],
  ])('are refused by rules that cannot be followed: %s', async (_what, given, message) => {
    const error = await refusalOf(resolve(open(await rules(given))), 'CONFIG');
    expect(error.message).toContain('hubs.omz.rules');
    expect(error.message).toContain(message);
  });

  it('are refused by rules at a relative path, absent ones, and those that replace a file', async () => {
    expect((await refusalOf(resolve(open({ rules: 'rules.yaml' })), 'CONFIG')).hint).toContain('~/');
    const absent = join(directory, 'absent.yaml');
    expect((await refusalOf(resolve(open({ rules: absent })), 'CONFIG')).message).toContain(absent);
    const given = { aclnet: { model_proc_src: 'rules.yaml', model_proc_dst: 'aclnet.json' } };
    const error = await refusalOf(resolve(open(await rules(given)), 'aclnet'), 'CONFIG');
    expect(error.message).toContain('would replace aclnet.json of aclnet');
  });

  it('stop when they are interrupted while a sample is awaited', async () => {
    const stop = new AbortController();
    const settings = await rules(rule(`${zoo.samples}/own/sample.json`));
    const first = await resolve(open({ samples: zoo.samples }));
    zoo.setFault('silent');
    const context = open(settings, { signal: stop.signal, known: () => Promise.resolve(first) });
    const work = refusalOf(resolve(context), 'INTERRUPTED');
    await zoo.server.reached();
    stop.abort();
    await work;
    expect(context.warnings).toEqual([]);
  });
});
