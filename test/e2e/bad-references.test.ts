import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal, type Refusal } from '../helpers/refused.js';

const ALICE = { token: 'hf_tokenOfAliceAaaaaaaaaaaaaa', user: 'alice' } as const;
const BOB = { token: 'hf_tokenOfBobBbbbbbbbbbbbbbbb', user: 'bob' } as const;
const files = { 'config.json': '{}', 'onnx/model.onnx': 'x' };

let hub: HfHub;
let world: World;

beforeAll(async () => {
  hub = await startHfHub({
    tokens: [ALICE, BOB],
    repos: [
      { id: 'org/open', files, branches: { dev: files }, tags: { 'v1.0': files } },
      { id: 'org/gated', files, gated: { kind: 'manual', granted: ['alice'] } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  await writeFile(join(world.directory, 'model.onnx'), 'x');
});

afterAll(async () => {
  await world.remove();
  await hub.close();
});

type Row = readonly [what: string, args: readonly string[], refusal: Refusal];

describe('a reference that cannot be read is refused before any request', () => {
  it.each<Row>([
    [
      'an unknown scheme',
      ['pull', 'hff:org/name'],
      { code: 'USAGE', message: /hff:org\/name/, hint: /hf:org\/name/ },
    ],
    ['an empty id', ['pull', 'hf:'], { code: 'USAGE', message: /hf:/, hint: /\[scheme:\]id/ }],
    ['an empty reference', ['pull', ''], { code: 'USAGE', message: /empty/i, hint: /\[scheme:\]id/ }],
    ['an empty revision', ['pull', 'hf:org/name@'], { code: 'USAGE', message: /hf:org\/name@/, hint: /@/ }],
    [
      'a subpath that leaves its model',
      ['pull', 'hf:org/name//../../etc/passwd'],
      { code: 'USAGE', message: /\.\./, hint: /\[scheme:\]id/ },
    ],
    [
      'too many segments',
      ['pull', 'org/name/onnx'],
      { code: 'USAGE', message: /org\/name\/onnx/, hint: /hf:org\/name\/\/onnx/ },
    ],
    [
      'a broken escape',
      ['pull', 'hf:org/na%ZZme'],
      { code: 'USAGE', message: /%ZZ/, hint: /letters, digits/ },
    ],
    [
      'a data set',
      ['pull', 'https://huggingface.co/datasets/org/name'],
      { code: 'USAGE', message: /datasets\/org\/name/, hint: /hf:org\/name/ },
    ],
    [
      'a login in an address',
      ['pull', 'https://alice:hunter2@127.0.0.1/model.onnx'],
      { code: 'USAGE', message: /127\.0\.0\.1/, hint: /signed address/, secret: 'hunter2' },
    ],
    [
      'a signed address whose scheme is misspelt',
      ['pull', 'htps://127.0.0.1/f.onnx?mykey=hunter2'],
      { code: 'USAGE', message: /htps:\/\/127\.0\.0\.1\/f\.onnx/, hint: /https:/, secret: 'hunter2' },
    ],
    [
      'a control character',
      ['pull', 'hf:org/na\u001b[31mme'],
      { code: 'USAGE', message: /org\/na/, hint: /letters, digits/, secret: '\u001b[31m' },
    ],
    [
      'a web address with a revision that is no digest',
      ['pull', 'https://127.0.0.1/model.onnx', '--revision', 'v1'],
      { code: 'USAGE', message: /no revision but the sha256/, hint: /64 hex digits/ },
    ],
    [
      'a web address with two digests',
      ['pull', `https://127.0.0.1/model.onnx#sha256=${'0'.repeat(64)}`, '--revision', '1'.repeat(64)],
      { code: 'USAGE', message: /names a revision already: 0{64}/, hint: /after `#`/ },
    ],
    [
      'a local file with a revision that is no digest',
      ['pull', '.', '--revision', 'v1'],
      { code: 'USAGE', message: /no revision `v1`/, hint: /`modeldl list`/ },
    ],
    [
      'a revision given twice',
      ['pull', 'hf:org/name@main', '--revision', 'dev'],
      { code: 'USAGE', message: /main/, hint: /--revision/ },
    ],
    [
      'an unknown option',
      ['pull', 'hf:org/name', '--quantt', 'Q4_K_M'],
      { code: 'USAGE', message: /--quantt/, hint: /--quant/ },
    ],
    [
      'unpacking of what is no archive',
      ['pull', 'hf:org/name', '--unpack'],
      { code: 'USAGE', message: /--unpack.*hf:org\/name/, hint: /https:/ },
    ],
    [
      'an output that holds files of others',
      ['pull', 'hf:org/open', '-o', '..'],
      { code: 'USAGE', message: /modeldl did not write/, hint: /--overwrite/ },
    ],
    [
      'an output of a conversion that holds files of others',
      ['convert', 'hf:org/open', '-o', '..'],
      { code: 'USAGE', message: /modeldl did not write/, hint: /--overwrite/ },
    ],
    [
      'an output that is no directory',
      ['pull', 'hf:org/open', '-o', '/dev/null'],
      { code: 'USAGE', message: /not a directory: \/dev\/null/, hint: /--output/ },
    ],
  ])('%s', async (_what, args, refusal) => {
    hub.clearRequests();
    await expectRefusal(world, args, refusal);
    expect(hub.requests).toEqual([]);
  });
});

describe('what the hub does not have', () => {
  it.each<Row>([
    [
      'a missing model, anonymous: the hub does not tell it from a private one',
      ['pull', 'hf:org/missing'],
      { code: 'AUTH', message: /org\/missing.*does not exist.*or is private/, hint: /modeldl login hf/ },
    ],
    [
      'a missing model',
      ['pull', 'hf:org/missing'],
      {
        code: 'NOT_FOUND',
        message: /org\/missing.*does not exist/,
        hint: /check the name/,
        environment: { HF_TOKEN: ALICE.token },
        secret: ALICE.token,
      },
    ],
    [
      'a missing revision, with those there are',
      ['pull', 'hf:org/open@v9'],
      { code: 'NOT_FOUND', message: /org\/open has no revision v9/, hint: /dev.*v1\.0/ },
    ],
    [
      'a missing file, with those there are',
      ['pull', 'hf:org/open//onnx/modle.onnx'],
      { code: 'NOT_FOUND', message: /onnx\/modle\.onnx/, hint: /onnx\/model\.onnx/ },
    ],
    [
      'a pattern that matches no file',
      ['pull', 'hf:org/open', '--include', '*.gguf'],
      { code: 'NOT_FOUND', message: /\*\.gguf/, hint: /onnx\/model\.onnx|--include/ },
    ],
    [
      'a missing local file',
      ['pull', './missing.onnx'],
      { code: 'NOT_FOUND', message: /missing\.onnx/, hint: /hf:org\/name/ },
    ],
    [
      'a name without `./` where a file of that name is',
      ['pull', 'model.onnx'],
      { code: 'AUTH', message: /model\.onnx/, hint: /a file is written `\.\/model\.onnx`; otherwise/ },
    ],
    [
      'the same for convert, offline',
      ['convert', 'model.onnx', '--offline'],
      { code: 'NETWORK', message: /model\.onnx/, hint: /a file is written `\.\/model\.onnx`; otherwise/ },
    ],
    [
      'a model that is not stored',
      ['path', 'hf:org/open@v1.0'],
      { code: 'NOT_FOUND', message: /org\/open@v1\.0/, hint: /modeldl pull hf:org\/open@v1\.0/ },
    ],
    [
      'a model that is not stored, offline',
      ['pull', 'hf:org/open', '--offline'],
      { code: 'NETWORK', message: /org\/open/, hint: /modeldl pull hf:org\/open/ },
    ],
  ])('%s', async (_what, args, refusal) => {
    await expectRefusal(world, args, refusal);
  });
});

describe('a gated model', () => {
  it.each<Row>([
    [
      'without a token',
      ['pull', 'hf:org/gated'],
      { code: 'GATED', message: /org\/gated.*not logged in/, hint: /modeldl login hf/ },
    ],
    [
      'with a token that the hub does not know',
      ['pull', 'hf:org/gated'],
      {
        code: 'AUTH',
        message: /does not accept the token from .*HF_TOKEN/,
        hint: /settings\/tokens/,
        environment: { HF_TOKEN: 'hf_wrongWrongWrongWrong' },
        secret: 'hf_wrongWrongWrongWrong',
      },
    ],
    [
      'with a token that has no access',
      ['pull', 'hf:org/gated'],
      {
        code: 'GATED',
        message: /no access to the model org\/gated.*HF_TOKEN/,
        hint: /ask for access/,
        environment: { HF_TOKEN: BOB.token },
        secret: BOB.token,
      },
    ],
  ])('%s names the page to visit, and fetches no file', async (_what, args, refusal) => {
    hub.clearRequests();
    const { error } = await expectRefusal(world, args, refusal);
    expect(error).toMatchObject({ reference: 'hf:org/gated', url: `${hub.endpoint}/org/gated` });
    expect(hub.requests.filter(({ url, status }) => url.includes('/resolve/') && status < 300)).toEqual([]);
  });

  it('is pulled with a token that has access', async () => {
    const run = await world.runWith({ HF_TOKEN: ALICE.token }, 'pull', 'hf:org/gated', '--json');
    expect(run.exitCode).toBe(0);
    expect(run.stdout).not.toContain(ALICE.token);
  });
});

describe('several references', () => {
  it('of which some fail exit 11, with the models that came and every error in one document', async () => {
    const { exitCode, stdout } = await world.run(
      'pull',
      './model.onnx',
      'hf:org/missing',
      './gone',
      '--json',
    );
    expect(exitCode).toBe(11);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      error: { code: 'AUTH', reference: 'hf:org/missing' },
      errors: [
        { code: 'AUTH', reference: 'hf:org/missing' },
        { code: 'NOT_FOUND', reference: './gone' },
      ],
      models: [{ hub: 'file', files: [{ path: 'model.onnx' }] }],
    });
  });

  it('that all fail alike exit with that code', async () => {
    const { exitCode, stderr } = await world.run('pull', './gone', './gone-too');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('gone-too');
  });
});
