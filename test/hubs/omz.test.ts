import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { omz } from '../../hubs/omz.js';
import { readComposite, readModel } from '../../hubs/omz/model-yml.js';
import { COMPOSITES, PLACES, RELEASE, RELEASES } from '../../hubs/omz/names.js';
import type { ErrorCode, ModeldlError } from '../../src/errors.js';
import type { Snapshot } from '../../src/hub.js';
import { parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { modelYml, NEWEST, startZoo, type Zoo } from '../helpers/omz.js';
import { requirePeer } from '../helpers/require.js';
import { describeHubConformance, digestOf } from './conformance.js';

const FACE = 'intel/face-detection-retail-0004';
const ACTION = 'intel/action-recognition-0001';
const OLD_RELEASE = '2021.4.2';
const OLD = RELEASES[OLD_RELEASE] ?? '';
const OTHER = '0123456789abcdef0123456789abcdef01234567';

const ir = (name: string, precision = 'FP16'): Record<string, Buffer> => ({
  [`${precision}/${name}.xml`]: Buffer.from(`<net name="${name}" version="11"/>`),
  [`${precision}/${name}.bin`]: Buffer.from(`weights of ${name} in ${precision}`),
});
const FACE_FILES = {
  ...ir('face-detection-retail-0004', 'FP32'),
  ...ir('face-detection-retail-0004'),
  ...ir('face-detection-retail-0004', 'FP16-INT8'),
};
const STEPS = `  - $type: unpack_archive
    format: gztar
    file: model/weights.tar.gz
  - $type: unpack_archive
    file: package.whl
    format: zip
  - $type: regex_replace
    file: model/net.py
    pattern: '(?m)^from \\.(loss|utils)$'
    replacement: '# \\g<0>'
  - $type: regex_replace
    file: package/__init__.py
    pattern: 'a'
    replacement: ''
    count: 2
`;
const ZOO = {
  models: {
    [FACE]: { files: FACE_FILES },
    'public/yolox-tiny': {
      framework: 'pytorch',
      license: 'https://raw.githubusercontent.com/Megvii-BaseDetection/YOLOX/main/LICENSE',
      steps: STEPS,
      files: {
        'model/net.py': Buffer.from('from .loss\n'),
        'model/weights.tar.gz': Buffer.from('a tar'),
        'package.whl': Buffer.from('a zip'),
      },
    },
    [`${ACTION}/action-recognition-0001-encoder`]: { files: ir('action-recognition-0001-encoder') },
    [`${ACTION}/action-recognition-0001-decoder`]: { files: ir('action-recognition-0001-decoder') },
    'public/long-gone': { files: { 'model.onnx': Buffer.from('onnx') }, framework: 'onnx', old: true },
  },
  composites: { [ACTION]: ['action-recognition-0001-encoder', 'action-recognition-0001-decoder'] },
  commits: [NEWEST, OLD, OTHER],
};

function parse(text: string): Reference {
  return parseReference(text, [omz.syntax], { cwd: '/work', home: '/home/user' });
}

describeHubConformance('omz', async () => {
  const zoo = await startZoo(ZOO);
  return {
    hub: omz,
    options: { settings: { endpoint: zoo.endpoint } },
    model: { text: 'omz:face-detection-retail-0004', paths: Object.keys(FACE_FILES) },
    unknown: 'omz:face-detection-retail-0400',
    search: { text: 'face-detection-retail-0004', finds: ['omz:face-detection-retail-0004'] },
    references: [
      'omz:yolo-v3-tf@2024.6.0',
      `omz:aclnet@${OTHER}//FP16`,
      'https://github.com/openvinotoolkit/open_model_zoo/tree/2023.3.0/models/public/yolo-v3-tf',
    ],
    secrets: [],
    setFault: zoo.setFault,
    reached: zoo.server.reached,
    close: zoo.close,
  };
});

describe('references to Open Model Zoo', () => {
  const repository = 'https://github.com/openvinotoolkit/open_model_zoo';
  it.each([
    [
      `${repository}/tree/master/models/intel/face-detection-retail-0004`,
      { id: 'face-detection-retail-0004' },
    ],
    [
      `${repository}/blob/2023.3.0/models/public/yolo-v3-tf/model.yml`,
      { id: 'yolo-v3-tf', revision: '2023.3.0' },
    ],
    [
      `${repository}/tree/${OTHER}/models/intel/action-recognition-0001/action-recognition-0001-encoder/`,
      { id: 'action-recognition-0001-encoder', revision: OTHER },
    ],
  ])('are read from %s', (text, parts) => {
    expect(parse(text)).toEqual({ hub: 'omz', ...parts });
  });

  it.each([
    ['omz:intel/face-detection-0200', 'did you mean `omz:face-detection-0200`'],
    ['omz:..', '`//FP16`'],
    ['omz:org/name', '`omz:face-detection-retail-0004`'],
    ['omz:aclnet@a%2Fb', '`@2024.6.0`'],
    ['omz:aclnet@..', '`@2024.6.0`'],
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

describe('models of Open Model Zoo', () => {
  let zoo: Zoo;
  const contexts: TestHubContext[] = [];

  beforeEach(async () => {
    zoo = await startZoo(ZOO);
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await zoo.close();
  });

  function resolve(text: string, options: TestHubOptions = {}): Promise<Snapshot> {
    const context = createHubContext(omz, { settings: { endpoint: zoo.endpoint }, ...options });
    contexts.push(context);
    return omz.resolve(parse(text), context);
  }
  function refused(text: string, code: ErrorCode): Promise<ModeldlError> {
    return refusalOf(resolve(text), code);
  }

  it('take one request, and have the digest, size and address that the description has', async () => {
    const { revision, files, metadata, edits } = await resolve('omz:face-detection-retail-0004');
    expect(zoo.asked()).toEqual([`${NEWEST}/models/${FACE}/model.yml`]);
    expect(revision).toBe(NEWEST);
    expect(edits).toBeUndefined();
    expect(files).toEqual(
      Object.entries(FACE_FILES).map(([path, bytes]) => ({
        path,
        size: bytes.length,
        digest: { algorithm: 'sha384', hex: digestOf(bytes, 'sha384') },
        url: `${zoo.server.origin}/storage/${FACE}/${path}`,
      })),
    );
    expect(metadata).toEqual({
      license: 'apache-2.0',
      task: 'detection',
      library: 'openvino',
      page: `https://github.com/openvinotoolkit/open_model_zoo/tree/${NEWEST}/models/${FACE}`,
    });
  });

  it('are asked for nothing when the listing is stored', async () => {
    const first = await resolve('omz:yolox-tiny');
    expect(first.edits).toHaveLength(2);
    const before = zoo.server.requests.length;
    expect(
      await resolve(`omz:yolox-tiny@${RELEASE}`, { known: () => Promise.resolve(first), offline: true }),
    ).toEqual(first);
    expect(zoo.server.requests.length).toBe(before);
  });

  it('of several stages have a folder for each', async () => {
    const { id, files, metadata } = await resolve('omz:action-recognition-0001');
    expect(id).toBe('action-recognition-0001');
    expect(metadata.task).toBe('action_recognition');
    expect(files.map(({ path }) => path)).toEqual(
      ['encoder', 'decoder'].flatMap((stage) =>
        ['xml', 'bin'].map(
          (ending) => `action-recognition-0001-${stage}/FP16/action-recognition-0001-${stage}.${ending}`,
        ),
      ),
    );
    const stage = await resolve('omz:action-recognition-0001-decoder');
    expect(stage.files.map(({ path }) => path)).toContain('FP16/action-recognition-0001-decoder.bin');
  });

  it('bring the steps after the download, and licenses by address', async () => {
    const { files, edits, metadata } = await resolve('omz:yolox-tiny');
    expect(files.map(({ path, unpack }) => ({ path, unpack }))).toEqual([
      { path: 'model/net.py', unpack: undefined },
      { path: 'model/weights.tar.gz', unpack: { format: 'tar.gz', into: 'model' } },
      { path: 'package.whl', unpack: { format: 'zip' } },
    ]);
    expect(edits).toEqual([
      { path: 'model/net.py', pattern: expect.any(String) as string, replacement: ['# ', 0] },
      { path: 'package/__init__.py', pattern: 'a', replacement: [], count: 2 },
    ]);
    expect(metadata).toMatchObject({
      library: 'pytorch',
      license: 'https://raw.githubusercontent.com/Megvii-BaseDetection/YOLOX/main/LICENSE',
    });
  });

  it('of other revisions are looked for in both folders, by their SHA-256', async () => {
    const { revision, files } = await resolve(`omz:long-gone@${OLD_RELEASE}`);
    expect(revision).toBe(OLD);
    expect(files[0]?.digest).toEqual({
      algorithm: 'sha256',
      hex: digestOf(Buffer.from('onnx'), 'sha256'),
    });
    expect((await resolve(`omz:long-gone@${OTHER}`)).revision).toBe(OTHER);
  });

  it('are known by names that are near, without a request', async () => {
    const error = await refused('omz:face-detection-retail-004', 'NOT_FOUND');
    expect(error.message).toContain('Open Model Zoo 2024.6.0 has no model face-detection-retail-004');
    expect(error.hint).toContain('`omz:face-detection-retail-0004`');
    expect((await refused('omz:Face-Detection-Retail-0004', 'NOT_FOUND')).hint).toContain(
      '`omz:face-detection-retail-0004`',
    );
    expect(zoo.asked()).toEqual([]);
  });

  it('say what else there is, of a revision that has them not, or that is none', async () => {
    expect((await refused(`omz:yolo-v3-tf@${OLD_RELEASE}`, 'NOT_FOUND')).hint).toContain(
      'the release 2024.6.0 has it: `omz:yolo-v3-tf`',
    );
    const error = await refused('omz:yolo-v3-tf@2021.5', 'NOT_FOUND');
    expect(error.message).toContain('no release 2021.5');
    expect(error.hint).toMatch(/releases: 2021\.4\.2, .*2024\.6\.0/);
    await refused('omz:yolo-v3-tf@master', 'NOT_FOUND');
    // A commit is there or not; which, only the server knows.
    await refused(`omz:yolo-v3-tf@${'f'.repeat(40)}`, 'NOT_FOUND');
  });

  it.each([
    ['face-detection-retail-0004//INT8', ['//FP32', '//FP16', '//FP16-INT8']],
    ['face-detection-retail-0004@2024.6.0//fp16', ['@2024.6.0//FP16']],
    ['face-detection-retail-0004//FP16/other.xml', ['//FP16']],
    [
      'action-recognition-0001//FP16',
      ['encoder', 'decoder'].map((stage) => `//action-recognition-0001-${stage}/FP16`),
    ],
    ['action-recognition-0001//FP16/net.yml', []],
  ])('say which parts there are, in place of %s', async (text, parts) => {
    const error = await refused(`omz:${text}`, 'NOT_FOUND');
    const [name = '', subpath = ''] = text.split('//');
    expect(error.message).toBe(`omz:${name} has no ${subpath}`);
    for (const part of parts) expect(error.hint).toContain(`\`omz:${name.replace(/@.*/, '')}${part}\``);
    expect(error.hint).toMatch(/^it has `omz:/);
  });

  it('whose archives are not known may have any part', async () => {
    expect((await resolve('omz:yolox-tiny//model/weights.pth')).files).toHaveLength(3);
  });

  it.each<[number, string, ErrorCode, string]>([
    [200, 'text/html', 'NETWORK', 'hubs.omz.endpoint'],
    [404, 'text/html', 'NOT_FOUND', 'hubs.omz.endpoint'],
    [401, 'text/plain', 'AUTH', 'proxy'],
    [403, 'text/html', 'AUTH', 'proxy'],
    [429, 'text/plain', 'NETWORK', 'wait'],
    [500, 'text/plain', 'NETWORK', 'later'],
  ])('are refused with %i, %s', async (status, type, code, hint) => {
    zoo.refuse({ status, headers: { 'content-type': type }, body: '<html>Log in</html>' });
    const error = await refused('omz:face-detection-retail-0004', code);
    expect(error.message).toContain(`${zoo.endpoint}/${NEWEST}/models/${FACE}/model.yml`);
    expect(error.hint).toContain(hint);
  });

  it('are refused with the address when the description stops on its way, or has no end', async () => {
    const headers = { 'content-type': 'text/plain', 'content-length': '4000' };
    zoo.refuse({ headers, body: 'files:\n' });
    const stopped = await refusalOf(
      resolve('omz:face-detection-retail-0004', { idleTimeoutMs: 50 }),
      'NETWORK',
    );
    expect(stopped.message).toContain(new URL(zoo.endpoint).host);
    expect(stopped.details['url']).toBe(`${zoo.endpoint}/${NEWEST}/models/${FACE}/model.yml`);
    zoo.refuse({ headers: { 'content-type': 'text/plain' }, body: Buffer.alloc(1024 ** 2 + 1, '#') });
    const endless = await refused('omz:face-detection-retail-0004', 'NETWORK');
    expect(endless.message).toContain('more than 1048576 bytes');
    expect(endless.message).toContain(`/${NEWEST}/models/${FACE}/model.yml`);
  });

  it.each(['ftp://models', 'https://user:word@models.example'])(
    'need an endpoint that is an address: %s',
    async (endpoint) => {
      const error = await refusalOf(
        resolve('omz:face-detection-retail-0004', { settings: { endpoint } }),
        'CONFIG',
      );
      expect(error.message).toContain('hubs.omz.endpoint');
      expect(error.message).not.toContain('user:word');
    },
  );
});

describe('a description is refused', () => {
  const good = modelYml(FACE, { files: { 'model.onnx': Buffer.from('onnx') } }, 'https://storage.example');
  const steps = (text: string): string => good.replace('input_info', `postprocessing:\n${text}input_info`);
  const unpack = (file: string, format: string): string =>
    `  - $type: unpack_archive\n    file: ${file}\n    format: ${format}\n`;
  const replace = (file: string, pattern: string): string =>
    `  - $type: regex_replace\n    file: ${file}\n    pattern: '${pattern}'\n    replacement: ''\n`;

  it.each([
    ['text', 'a page of words', 'Object'],
    ['broken YAML', 'files: [', 'no YAML'],
    ['one with a type of a language', good.replace('size: 4', 'size: !!js/function f'), 'no YAML'],
    ['one without files', good.replace('files:', 'other:'), 'files'],
    ['a negative size', good.replace('size: 4', 'size: -4'), 'files.0.size'],
    ['a short digest', good.replace(/checksum: ./, 'checksum: '), 'files.0.checksum'],
    ['no digest', good.replace('checksum', 'hash'), 'checksum'],
    ['a name that leaves its folder', good.replace('name: model.onnx', 'name: a/../../b'), 'relative path'],
    ['an absolute name', good.replace('name: model.onnx', 'name: /etc/passwd'), 'relative path'],
    ['a local source', good.replace('https://storage.example', 'file://'), 'source'],
    ['a source of another kind', good.replace(/source: .*/, 'source: {$type: ftp, url: "x"}'), 'source'],
    ['a step that is not known', steps('  - $type: run\n    file: model.onnx\n'), 'postprocessing.0.$type'],
    ['an archive that is not listed', steps(unpack('other.zip', 'zip')), 'other.zip'],
    ['an archive of another kind', steps(unpack('model.onnx', 'bztar')), 'format'],
    ['an edit of an archive', steps(unpack('model.onnx', 'zip') + replace('model.onnx', 'a')), 'unpacks'],
    ['an expression that means something else', steps(replace('model.onnx', '(?P<a>b)')), 'not understood'],
  ])('%s', (_what, yaml, message) => {
    expect(() => readModel(yaml, 'model')).toThrow(message);
  });

  it('with two files of one name', () => {
    const [file = ''] = /(?<=files:\n)(.*\n){4}/.exec(good) ?? [];
    expect(() => readModel(good.replace(file, file + file), 'model')).toThrow('two files have one name');
  });

  it('and names the model, where it is, and another release', async () => {
    const zoo = await startZoo({
      models: {},
      texts: { [`${FACE}/model.yml`]: 'files: 1' },
      commits: [NEWEST, OLD],
    });
    const context = createHubContext(omz, { settings: { endpoint: zoo.endpoint } });
    try {
      const reference = parse(`omz:face-detection-retail-0004@${OLD_RELEASE}`);
      const error = await refusalOf(omz.resolve(reference, context), 'UNSUPPORTED');
      expect(error.message).toContain('the description of face-detection-retail-0004: files');
      expect(error.hint).toContain('`omz:face-detection-retail-0004@2024.6.0`');
    } finally {
      context.close();
      await zoo.close();
    }
  });
});

describe('descriptions as the repository has them', () => {
  it('name files at Google Drive by their ids', () => {
    const yaml = modelYml(FACE, { files: { 'model.onnx': Buffer.from('onnx') } }, 'https://x.example');
    const source = 'source:\n      $type: google_drive\n      id: 1pl_iT-8YDcZ';
    expect(readModel(yaml.replace(/source: .*/, source), 'model').files[0]?.url).toBe(
      'https://drive.usercontent.google.com/download?id=1pl_iT-8YDcZ&export=download&confirm=t',
    );
  });

  const models = fileURLToPath(new URL('../../../shared/data/open_model_zoo/models', import.meta.url));
  requirePeer('../shared', existsSync(models))(
    'are all read, and are where they are known to be',
    async () => {
      const paths = (await readdir(models, { recursive: true })).filter((path) => path.endsWith('model.yml'));
      const places = paths.map((path) => path.slice(0, path.lastIndexOf('/')));
      expect(new Set(places)).toEqual(new Set(Object.values(PLACES).flat()));
      const counts = { files: 0, edits: 0, archives: 0 };
      for (const path of paths) {
        const yaml = await readFile(join(models, path), 'utf8');
        const place = path.slice(0, path.lastIndexOf('/'));
        if (path.endsWith('composite-model.yml')) {
          expect(COMPOSITES).toContain(place);
          const { stages = [] } = readComposite(yaml);
          expect(stages.length).toBeGreaterThan(1);
          for (const stage of stages) expect(places).toContain(`${place}/${stage}`);
          continue;
        }
        const { files, edits, task } = readModel(yaml, 'model');
        expect(PLACES[task ?? ''], place).toContain(place);
        counts.files += files.length;
        counts.edits += edits.length;
        counts.archives += files.filter(({ unpack }) => unpack !== undefined).length;
        expect(files.every(({ digest }) => digest?.algorithm === 'sha384')).toBe(true);
      }
      expect(counts).toEqual({ files: 1215, edits: 167, archives: 65 });
    },
  );
});
