import { afterEach, describe, expect, it } from 'vitest';
import { hf } from '../../hubs/hf.js';
import type { ErrorCode } from '../../src/errors.js';
import type { Credential, Snapshot } from '../../src/hub.js';
import { parseReference } from '../../src/reference.js';
import { startHfHub, type HfHub, type HfHubOptions, type HfRepo } from '../helpers/hf-hub.js';
import { createHubContext, refusalOf, type TestHubContext } from '../helpers/hub-context.js';

const ALICE = {
  token: 'hf_tokenOfAliceAaaaaaaaaaaaaaa',
  user: 'alice',
  role: 'read',
  organisations: ['acme'],
} as const;
const BOB = { token: 'token-of-bob-by-a-mirror', user: 'bob' } as const;
const SOURCE = 'the environment variable HF_TOKEN';

const files = { 'config.json': '{}', 'onnx/model.onnx': 'x' };
const repos: readonly HfRepo[] = [
  {
    id: 'org/public',
    files,
    branches: { 'feature/x': files, dev: files },
    tags: { 'v1.0': files, 'v2.0': files },
  },
  { id: 'org/private', files, privateTo: ['alice'] },
  { id: 'org/gated', files, gated: { kind: 'manual', granted: ['alice'] } },
  { id: 'org/closed', files, gated: { kind: 'auto', granted: ['alice'] }, gatedMetadata: true },
  { id: 'org/disabled', files, disabled: true },
];

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function start(options: Partial<HfHubOptions> = {}): Promise<HfHub> {
  const hub = await startHfHub({ repos, tokens: [ALICE, BOB], ...options });
  open.push(hub);
  return hub;
}

function contextOf(hub: HfHub, token?: string): TestHubContext {
  const credential: Credential | undefined = token === undefined ? undefined : { token, source: SOURCE };
  const context = createHubContext(hf, { settings: { endpoint: hub.endpoint }, credential });
  open.push(context);
  return context;
}

function resolve(text: string, context: TestHubContext): Promise<Snapshot> {
  return hf.resolve(parseReference(text, [hf.syntax], { cwd: '/', home: '/' }), context);
}

describe('what the Hugging Face hub refuses', () => {
  it.each<[string, string, string | undefined, ErrorCode, RegExp, RegExp]>([
    [
      'a missing model, anonymous',
      'org/missing',
      undefined,
      'AUTH',
      /does not exist.*or is private/,
      /login hf/,
    ],
    [
      'a private model, anonymous',
      'org/private',
      undefined,
      'AUTH',
      /does not exist.*or is private/,
      /login hf/,
    ],
    [
      'a missing model',
      'org/missing',
      ALICE.token,
      'NOT_FOUND',
      /does not exist.*HF_TOKEN/,
      /check the name/,
    ],
    [
      'a private model of others',
      'org/private',
      BOB.token,
      'NOT_FOUND',
      /private to others.*HF_TOKEN/,
      /check the name/,
    ],
    [
      'a wrong token',
      'org/public',
      'hf_wrong',
      'AUTH',
      /does not accept the token from .*HF_TOKEN/,
      /settings\/tokens.*environment wins/,
    ],
    ['a gated model, anonymous', 'org/closed', undefined, 'GATED', /not logged in/, /login hf/],
    [
      'a gated model without access',
      'org/closed',
      BOB.token,
      'GATED',
      /no access.*HF_TOKEN/,
      /ask for access/,
    ],
    ['a disabled model', 'org/disabled', ALICE.token, 'NOT_FOUND', /disabled/, /another model/],
  ])('%s', async (_what, name, token, code, message, hint) => {
    const hub = await start();
    const error = await refusalOf(resolve(name, contextOf(hub, token)), code);
    expect(error.message).toContain(token === 'hf_wrong' ? '127.0.0.1' : name);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
    expect(error.details).toMatchObject({
      url: `${hub.endpoint}/${name}`,
      ...(token === undefined ? {} : { tokenSource: SOURCE }),
    });
    expect(JSON.stringify([error.message, error.hint, error.details])).not.toContain(token ?? 'Bearer');
  });

  it.each([
    ['org/public', ALICE.token],
    ['org/private', ALICE.token],
    ['org/closed', ALICE.token],
    ['org/gated', undefined],
  ])('nothing of %s to whom it may show it', async (name, token) => {
    const hub = await start();
    expect((await resolve(name, contextOf(hub, token))).files).toHaveLength(2);
  });

  it.each<[string, string | undefined, RegExp]>([
    ['anonymous', undefined, /not logged in/],
    ['without access', BOB.token, /no access.*HF_TOKEN/],
  ])('the files of a gated model, %s, before any of them is fetched', async (_who, token, message) => {
    const hub = await start();
    const context = contextOf(hub, token);
    const snapshot = await resolve('org/gated', context);
    expect(snapshot.metadata.gated).toBe(true);
    hub.clearRequests();
    const error = await refusalOf(hf.checkAccess(snapshot, context), 'GATED');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(`${hub.endpoint}/org/gated`);
    expect(hub.requests.map(({ method }) => method)).toEqual(['HEAD']);
  });

  it('not the files of a gated model with access, and asks nothing about open models', async () => {
    const hub = await start();
    const context = contextOf(hub, ALICE.token);
    await hf.checkAccess(await resolve('org/gated', context), context);
    const snapshot = await resolve('org/public', context);
    hub.clearRequests();
    await hf.checkAccess(snapshot, context);
    expect(hub.requests).toEqual([]);
  });

  it('an unknown revision, naming the known ones', async () => {
    const hub = await start();
    const error = await refusalOf(resolve('org/public@v1.5', contextOf(hub)), 'NOT_FOUND');
    expect(error.message).toContain('The model org/public has no revision v1.5');
    expect(error.hint).toMatch(/branches: .*main.*; tags: .*v1\.0/);
  });

  it('an unknown commit', async () => {
    const hub = await start();
    const error = await refusalOf(resolve(`org/public@${'0'.repeat(40)}`, contextOf(hub)), 'NOT_FOUND');
    expect(error.message).toContain('0'.repeat(40));
  });

  it('an unknown revision, offering the longest match with what lies below it', async () => {
    const hub = await start();
    const address = 'org/public@feature//x/onnx';
    const error = await refusalOf(resolve(address, contextOf(hub)), 'NOT_FOUND');
    expect(error.hint).toBe('did you mean `hf:org/public@feature/x//onnx`');
  });

  it('an unknown revision, even when the hub has no list of them', async () => {
    const hub = await start();
    hub.addFault({ matches: /\/refs$/, kind: { status: 500 } });
    const error = await refusalOf(resolve('org/public@nope', contextOf(hub)), 'NOT_FOUND');
    expect(error.hint).toBe('its page lists branches and tags');
  });

  it('an empty token scope, in the hub’s words', async () => {
    const hub = await start();
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ error: 'Token lacks the permission to read this.' });
    hub.addFault({ kind: { status: 403, headers, body } });
    const error = await refusalOf(resolve('org/public', contextOf(hub, ALICE.token)), 'AUTH');
    expect(error.message).toMatch(/HF_TOKEN.*Token lacks the permission to read this$/);
  });

  it.each<[number, string | undefined, RegExp]>([
    [429, undefined, /login hf.*raises the limit/],
    [429, ALICE.token, /wait some minutes/],
    [500, undefined, /try again later/],
    [418, undefined, /try again later/],
  ])('with status %i as NETWORK', async (status, token, hint) => {
    const hub = await start();
    hub.addFault({ kind: { status, headers: { 'x-request-id': 'Root=1-abc' } } });
    const error = await refusalOf(resolve('org/public', contextOf(hub, token)), 'NETWORK');
    expect(error.message).toContain(`${hub.endpoint}/api/models/org/public`);
    expect(error.hint).toMatch(hint);
    expect(error.details).toMatchObject({ status, requestId: 'Root=1-abc' });
  });

  it.each([200, 403, 404, 503])('a web page (%i), which is no hub’s answer', async (status) => {
    const hub = await start();
    hub.addFault({
      kind: { status, headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>' },
    });
    const error = await refusalOf(resolve('org/public', contextOf(hub)), 'NETWORK');
    expect(error.message).toContain(`No answer of a Hugging Face hub (${status}, text/html)`);
    expect(error.hint).toContain(hub.endpoint);
    expect(error.hint).toContain('HF_ENDPOINT');
  });

  it('answers that are JSON and nothing of a hub', async () => {
    const hub = await start();
    for (const body of ['[]', 'null', '{}', '{"id":"../../etc","sha":"x"}', '{"id":"a/b","sha":"../../x"}']) {
      hub.addFault({ kind: { status: 200, headers: { 'content-type': 'application/json' }, body } });
      const error = await refusalOf(resolve('org/public', contextOf(hub)), 'NETWORK');
      expect(error.message, body).toContain('No answer of a Hugging Face hub');
      hub.clearFaults();
    }
  });
});

describe('who a token belongs to', () => {
  it('is what the hub says', async () => {
    const hub = await start();
    expect(await hf.credentials.whoami(contextOf(hub, ALICE.token))).toEqual({
      name: 'alice',
      scope: 'read',
      organisations: ['acme'],
    });
    expect((await hf.credentials.whoami(contextOf(hub, BOB.token))).name).toBe('bob');
  });

  it('is an error that names the source for a wrong one', async () => {
    const hub = await start();
    const error = await refusalOf(hf.credentials.whoami(contextOf(hub, 'nonsense')), 'AUTH');
    expect(error.message).toContain(`does not accept the token from ${SOURCE}`);
    expect(error.message).not.toContain('nonsense');
  });

  it('is not answered by anything else', async () => {
    const hub = await start();
    const headers = { 'content-type': 'application/json' };
    hub.addFault({ kind: { status: 200, headers, body: '{"name":"x"}' } });
    await refusalOf(hf.credentials.whoami(contextOf(hub, ALICE.token)), 'NETWORK');
  });
});
