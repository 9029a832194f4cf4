/**
 * What servers, networks and proxies do wrong, against the built program: every row ends with the right bytes or with
 * the documented exit code, and never with a wrong blob. Rows hold for one and for many connections per file.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, type TestContext } from 'vitest';
import { EXIT_CODES, type ErrorCode } from '../../src/errors.js';
import { startHfHub, type HfFault, type HfHub, type HfHubOptions } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectSoundStore } from '../helpers/sound-store.js';

const MiB = 1024 * 1024;
const SMALL = patterned(MiB);
/** Large enough for several parts at once. */
const LARGE = patterned(40 * MiB);
/** Where the first answer breaks off, so that there is a later one: past what is fetched twice after a kill. */
const MIDWAY = 18 * MiB;

/** Bytes that differ at every place, so that none can stand for another. */
function patterned(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  return bytes;
}

interface Place {
  readonly hub: HfHub;
  readonly world: World;
}

/** A hub and a world of this test's own, since tests run side by side here. */
async function place({ onTestFinished }: TestContext, options: Partial<HfHubOptions> = {}): Promise<Place> {
  const hub = await startHfHub({
    repos: [
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
      { id: 'org/small', files: { 'config.json': '{}', 'model.onnx': SMALL } },
    ],
    ...options,
  });
  const world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  onTestFinished(async () => {
    await world.remove();
    await hub.close();
  });
  return { hub, world };
}

type Size = 'large' | 'small';
type Fault = Omit<HfFault, 'server'> & { readonly server?: 'hub' | 'cdn' };

/** How a row ends: with the bytes, or refused. */
type End =
  | 'bytes'
  | {
      readonly code: ErrorCode;
      readonly message: RegExp;
      readonly hint: RegExp;
      /** It may end well instead: by another number of connections, for one. */
      readonly orBytes?: boolean;
    };

async function expectEnd(run: Run, end: End, size: Size): Promise<void> {
  if (end === 'bytes' || (end.orBytes === true && run.exitCode === 0)) {
    expect(run.exitCode, run.stderr).toBe(0);
    const bytes = await readFile(join(run.stdout, 'model.onnx'));
    expect(bytes.equals(size === 'large' ? LARGE : SMALL)).toBe(true);
    return;
  }
  expect(run.exitCode, run.stderr).toBe(EXIT_CODES[end.code]);
  expect(run.stdout).toBe('');
  expect(run.stderr).toMatch(/^error: /m);
  expect(run.stderr).toMatch(end.message);
  expect(run.stderr).toMatch(end.hint);
  expect(run.stderr).not.toMatch(/^\s+at .+:\d+:\d+/m);
}

/** Pulls under faults; afterwards the store is sound, and after a refusal a pull without them has the bytes. */
async function pullUnder(
  { hub, world }: Place,
  size: Size,
  faults: readonly Fault[],
  end: End,
  ...options: readonly string[]
): Promise<Run> {
  for (const fault of faults) hub.addFault(fault);
  const run = await world.run('pull', `hf:org/${size}`, '--max-wait', '4s', ...options);
  await expectEnd(run, end, size);
  await expectSoundStore(world);
  if (run.exitCode === 0) return run;
  hub.clearFaults();
  await expectEnd(await world.run('pull', `hf:org/${size}`), 'bytes', size);
  await expectSoundStore(world);
  return run;
}

function withHeaders(headers: Readonly<Record<string, string>>): Fault['kind'] {
  return { change: (answer) => ({ ...answer, headers: { ...answer.headers, ...headers } }) };
}

/** Changes the `Content-Range` of a part. */
function withRange(change: (start: number, end: number, total: number) => string): Fault['kind'] {
  return {
    change: (answer) => {
      const [, start, end, total] =
        /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers['content-range'] ?? '') ?? [];
      const wrong = `bytes ${change(Number(start), Number(end), Number(total))}`;
      return {
        ...answer,
        headers: { ...answer.headers, ...(start === undefined ? {} : { 'content-range': wrong }) },
      };
    },
  };
}

const wholeInstead = (bytes: Buffer): Fault['kind'] => ({
  change: ({ headers: { 'content-range': _range, ...headers } }) => ({ status: 200, headers, body: bytes }),
});

const zipped: Fault['kind'] = {
  change: (answer) => {
    const body = gzipSync(answer.body, { level: 1 });
    return { ...answer, headers: { ...answer.headers, 'content-encoding': 'gzip' }, body };
  },
};

let version = 0;
const otherVersion: Fault['kind'] = {
  change: (answer) => ({ ...answer, headers: { ...answer.headers, etag: `"${(version += 1)}"` } }),
};

const cut = { server: 'cdn', times: 1, part: 'first', kind: { cut: MIDWAY } } as const;
const cannotFinish = { code: 'NETWORK', hint: /run the same command again/ } as const;
const tryLater = { code: 'NETWORK', hint: /try again later/ } as const;

type Row = readonly [what: string, faults: readonly Fault[], end: End];

/** For files of any size: what the first answers, or all, do. */
const FIRST: readonly Row[] = [
  ['a reset, twice', [{ server: 'cdn', times: 2, kind: { reset: true } }], 'bytes'],
  [
    'nothing but resets',
    [{ server: 'cdn', kind: { reset: true } }],
    {
      code: 'NETWORK',
      message: /Cannot reach 127\.0\.0\.1:\d+: the connection was reset/,
      hint: /check the network/,
    },
  ],
  ['a truncation', [{ server: 'cdn', times: 1, kind: { cut: 1000 } }], 'bytes'],
  [
    'nothing but headers',
    [{ server: 'cdn', kind: { cut: 0 } }],
    { ...cannotFinish, message: /Cannot finish model\.onnx: the connection (was reset|ended early)/ },
  ],
  ['a stall', [{ server: 'cdn', times: 1, kind: { stall: 1000 } }], 'bytes'],
  ['bytes that only drip', [{ server: 'cdn', kind: { dripLast: 64 * 1024 } }], 'bytes'],
  ['503, three times', [{ server: 'cdn', times: 3, kind: { status: 503 } }], 'bytes'],
  [
    '500 of the hub, three times',
    [{ server: 'hub', matches: /resolve/, times: 3, kind: { status: 500 } }],
    'bytes',
  ],
  [
    'nothing but 502',
    [{ server: 'cdn', kind: { status: 502 } }],
    { ...tryLater, message: /model\.onnx answered 502/ },
  ],
  ['429 that says nothing', [{ server: 'cdn', times: 2, kind: { status: 429 } }], 'bytes'],
  [
    '429 with `Retry-After`',
    [{ server: 'cdn', times: 2, kind: { status: 429, headers: { 'retry-after': '1' } } }],
    'bytes',
  ],
  [
    '429 with `RateLimit`',
    [
      {
        server: 'hub',
        matches: /resolve/,
        times: 1,
        kind: { status: 429, headers: { ratelimit: '"resolvers";r=0;t=1' } },
      },
    ],
    'bytes',
  ],
  ['nothing but 429', [{ server: 'cdn', kind: { status: 429 } }], { ...tryLater, message: /answered 429/ }],
  [
    '429 with a `RateLimit` that is reset too late',
    [{ server: 'hub', kind: { status: 429, headers: { ratelimit: '"api";r=0;t=900' } } }],
    { code: 'NETWORK', message: /takes no more requests for 90\d s/, hint: /`--max-wait`/ },
  ],
  ['a signed address that is refused', [{ server: 'cdn', times: 1, kind: { status: 403 } }], 'bytes'],
  [
    'nothing but refused signed addresses',
    [{ server: 'cdn', kind: { status: 403 } }],
    { ...cannotFinish, message: /Cannot finish model\.onnx: the address it redirects to was refused/ },
  ],
  [
    'a redirect loop',
    [{ server: 'hub', matches: /resolve/, kind: { status: 302, headers: { location: '' } } }],
    {
      code: 'NETWORK',
      message: /Too many redirects: http.*(model\.onnx|config\.json)/,
      hint: /check the address/,
    },
  ],
  [
    'a redirect to a name that nobody has',
    [
      {
        server: 'hub',
        matches: /model\.onnx/,
        kind: { status: 302, headers: { location: 'http://cdn.invalid/x?sig=1' } },
      },
    ],
    {
      code: 'NETWORK',
      message: /Cannot reach cdn\.invalid: its name cannot be resolved/,
      hint: /check the network/,
    },
  ],
  [
    'a `Content-Length` that is too small',
    [{ server: 'cdn', times: 1, kind: withHeaders({ 'content-length': '1000' }) }],
    { code: 'INTEGRITY', message: /size of model\.onnx is wrong/, hint: /cuts its answers/, orBytes: true },
  ],
  [
    'a `Content-Length` that is too large',
    [{ server: 'cdn', times: 1, kind: withHeaders({ 'content-length': String(64 * MiB) }) }],
    'bytes',
  ],
  [
    'another file of the same length',
    [
      {
        server: 'cdn',
        kind: { change: (answer) => ({ ...answer, body: Buffer.alloc(answer.body.length, 'other') }) },
      },
    ],
    { code: 'INTEGRITY', message: /model\.onnx/, hint: /run the same command again/ },
  ],
  [
    'a longer file',
    [{ server: 'cdn', kind: wholeInstead(Buffer.alloc(41 * MiB, 'longer')) }],
    { code: 'INTEGRITY', message: /model\.onnx is longer than the \d+ bytes/, hint: /the source changed/ },
  ],
  [
    'a shorter file',
    [{ server: 'cdn', kind: wholeInstead(Buffer.alloc(1000, 'shorter')) }],
    { code: 'INTEGRITY', message: /size of model\.onnx is wrong/, hint: /the source changed/ },
  ],
  [
    'gzip',
    [{ server: 'cdn', kind: zipped }],
    { code: 'NETWORK', message: /answered gzip/, hint: /proxy between/ },
  ],
];

/** For what comes after a first answer that broke off. */
const LATER: readonly Row[] = [
  ['resets', [{ server: 'cdn', times: 2, kind: { reset: true } }], 'bytes'],
  ['truncations', [{ server: 'cdn', times: 3, kind: { cut: MiB } }], 'bytes'],
  ['a stall', [{ server: 'cdn', times: 1, kind: { stall: MiB } }], 'bytes'],
  ['503', [{ server: 'cdn', times: 2, kind: { status: 503 } }], 'bytes'],
  ['429', [{ server: 'cdn', times: 2, kind: { status: 429, headers: { 'retry-after': '1' } } }], 'bytes'],
  ['nothing but 503', [{ server: 'cdn', kind: { status: 503 } }], { ...tryLater, message: /answered 503/ }],
  ['all of the file for a part', [{ server: 'cdn', kind: wholeInstead(LARGE) }], 'bytes'],
  [
    'a part with another start',
    [{ server: 'cdn', times: 1, kind: withRange((start, end, total) => `${start + 1}-${end}/${total}`) }],
    'bytes',
  ],
  [
    'a part with a start before',
    [{ server: 'cdn', times: 1, kind: withRange((start, end, total) => `${start - 1}-${end}/${total}`) }],
    'bytes',
  ],
  [
    'a part with an earlier end',
    [{ server: 'cdn', times: 1, kind: withRange((start, end, total) => `${start}-${end - 9}/${total}`) }],
    'bytes',
  ],
  [
    'a part with an end past the file',
    [{ server: 'cdn', times: 1, kind: withRange((start, end, total) => `${start}-${end + 9}/${total}`) }],
    'bytes',
  ],
  [
    'a part of a file of another length',
    [{ server: 'cdn', times: 1, kind: withRange((start, end, total) => `${start}-${end}/${total + 1}`) }],
    'bytes',
  ],
  ['a part without a range', [{ server: 'cdn', times: 1, kind: withRange(() => 'nonsense') }], 'bytes'],
  [
    'nothing but wrong ranges',
    [{ server: 'cdn', kind: withRange((start, end, total) => `${start + 1}-${end}/${total}`) }],
    {
      code: 'NETWORK',
      message: /Cannot finish model\.onnx: the server sent another range/,
      orBytes: true,
      hint: /run the same command again/,
    },
  ],
  [
    'a part that is too short for its `Content-Length`',
    [{ server: 'cdn', times: 1, kind: withHeaders({ 'content-length': String(64 * MiB) }) }],
    'bytes',
  ],
  [
    'a part that is too long for its `Content-Length`',
    [{ server: 'cdn', times: 1, kind: withHeaders({ 'content-length': '1000' }) }],
    'bytes',
  ],
  [
    'gzip',
    [{ server: 'cdn', kind: zipped }],
    { code: 'NETWORK', message: /answered gzip/, hint: /proxy between/ },
  ],
  ['an ETag that changed', [{ server: 'cdn', times: 1, kind: otherVersion }], 'bytes'],
  [
    'an ETag that changes with every answer',
    [{ server: 'cdn', kind: otherVersion }],
    {
      code: 'NETWORK',
      message: /Cannot finish model\.onnx: the file changed at its source/,
      orBytes: true,
      hint: /run the same command again/,
    },
  ],
  [
    '416',
    [{ server: 'cdn', times: 1, kind: { status: 416, headers: { 'content-range': 'bytes */1' } } }],
    'bytes',
  ],
  ['a signed address that expired', [{ server: 'cdn', times: 1, kind: { status: 403 } }], 'bytes'],
  [
    'a redirect loop',
    [{ server: 'hub', matches: /model\.onnx/, kind: { status: 302, headers: { location: '' } } }],
    { code: 'NETWORK', message: /Too many redirects: http.*model\.onnx/, hint: /check the address/ },
  ],
  [
    'a redirect to a name that nobody has',
    [
      {
        server: 'hub',
        matches: /model\.onnx/,
        kind: { status: 302, headers: { location: 'http://cdn.invalid/' } },
      },
    ],
    {
      code: 'NETWORK',
      message: /Cannot reach cdn\.invalid: its name cannot be resolved/,
      hint: /check the network/,
    },
  ],
  [
    'flipped bits',
    [{ server: 'cdn', times: 1, kind: { corrupt: true } }],
    {
      code: 'INTEGRITY',
      message: /model\.onnx do not match their digest/,
      hint: /run the same command again/,
      orBytes: true,
    },
  ],
];

/** For the listing: what the answers of the hub's API do. */
const LISTING: readonly Row[] = [
  ['resets', [{ server: 'hub', matches: /\/api\//, times: 2, kind: { reset: true } }], 'bytes'],
  ['truncations', [{ server: 'hub', matches: /\/tree\//, times: 3, kind: { cut: 10 } }], 'bytes'],
  [
    'nothing but truncations',
    [{ server: 'hub', matches: /\/tree\//, kind: { cut: 10 } }],
    { code: 'NETWORK', message: /Cannot reach 127.*the connection was reset/, hint: /check the network/ },
  ],
  ['503', [{ server: 'hub', matches: /\/api\//, times: 3, kind: { status: 503 } }], 'bytes'],
  [
    '429 that says nothing',
    [{ server: 'hub', matches: /\/api\//, times: 2, kind: { status: 429 } }],
    'bytes',
  ],
  [
    'gzip',
    [{ server: 'hub', matches: /\/tree\//, kind: zipped }],
    { code: 'NETWORK', message: /No answer of a Hugging Face hub/, hint: /proxy/ },
  ],
  [
    'a redirect loop',
    [{ server: 'hub', matches: /\/api\//, kind: { status: 307, headers: { location: '' } } }],
    { code: 'NETWORK', message: /Too many redirects: http.*\/api\/models/, hint: /check the address/ },
  ],
];

describe.each(['large', 'small'] as const)('a %s file comes whole or the pull is refused', (size) => {
  it.concurrent.for(FIRST)('after %s', async ([_what, faults, end], context) => {
    await pullUnder(await place(context), size, faults, end);
  });
});

describe.each([1, 16])('on at most %i connections the rest of a large file comes or is refused', (most) => {
  it.concurrent.for(LATER)('after %s', async ([_what, faults, end], context) => {
    const later = faults.map((fault): Fault => ({ ...fault, part: 'later' }));
    // Others may bring what one is refused: they ask where the file was found before.
    const either = end === 'bytes' || most === 1 ? end : { ...end, orBytes: true };
    const here = await place(context);
    await pullUnder(here, 'large', [cut, ...later], either, '--connections', String(most));
  });
});

describe('a listing comes whole or the pull is refused', () => {
  it.concurrent.for(LISTING)('after %s', async ([_what, faults, end], context) => {
    await pullUnder(await place(context), 'small', faults, end);
  });
});

it.concurrent('a signed address that expires costs none of the bytes that came', async (context) => {
  const here = await place(context);
  const run = await pullUnder(
    here,
    'large',
    [cut, { server: 'cdn', part: 'later', times: 1, kind: { status: 403 } }],
    'bytes',
    '--connections',
    '1',
  );
  expect(run.stderr).toContain('the address it redirects to was refused');
  const [first, ...later] = here.hub.requests.filter(
    ({ server, status }) => server === 'cdn' && [200, 206].includes(status),
  );
  expect(first?.bytes).toBe(MIDWAY);
  expect(later.every(({ status }) => status === 206)).toBe(true);
  const sent = [first, ...later].reduce((sum, request) => sum + (request?.bytes ?? 0), 0);
  expect(sent).toBeLessThan(LARGE.length + MIDWAY / 2);
});

it.concurrent('many small files together run past no limit that the server announces', async (context) => {
  const files = Object.fromEntries(
    Array.from({ length: 25 }, (_, at) => [`part-${at}.json`, `{"at":${at}}`]),
  );
  const { hub, world } = await place(context, {
    repos: [{ id: 'org/many', files }],
    rateLimit: { remaining: 10, resetSeconds: 1, counted: true },
  });
  const run = await world.run('pull', 'hf:org/many');
  expect(run.exitCode, run.stderr).toBe(0);
  for (const [name, content] of Object.entries(files)) {
    expect(await readFile(join(run.stdout, name), 'utf8')).toBe(content);
  }
  expect(hub.requests.filter(({ status }) => status !== 200)).toEqual([]);
  expect(run.stderr).toContain('its rate limit is used up');
});
