import { describe, expect, it, vi } from 'vitest';
import type { ConversionPlan, ConversionRequest, Converter, PlannedModel } from '../../src/converter.js';
import { abortError, ModeldlError } from '../../src/errors.js';
import type { Hub, HubContext, Snapshot } from '../../src/hub.js';
import { guardConverter, guardHub, type Guard } from '../../src/plugins/guard.js';
import { formatReference, parseReference } from '../../src/reference.js';
import { createHubContext, refusalOf } from '../helpers/hub-context.js';

const BUG = /bug in that plugin.*take \.\/acme\.mjs out of `plugins` in \/config\.json/;

interface Guarded {
  readonly guard: Guard;
  readonly warnings: readonly string[];
}

function makeGuard(silenceMs = 60_000): Guarded {
  const warnings: string[] = [];
  const warn = (message: string): void => {
    warnings.push(message);
  };
  return {
    guard: { plugin: './acme.mjs', file: '/config.json', identity: 'acme@1.0.0', warn, silenceMs },
    warnings,
  };
}

const SNAPSHOT: Snapshot = {
  hub: 'acme',
  id: 'bert',
  revision: '1',
  files: [{ path: 'a', size: 1, url: 'https://acme.example/a' }],
  metadata: {},
};

const plain: Hub = {
  name: 'acme',
  title: 'Acme',
  syntax: { hub: 'acme', schemes: ['acme'] },
  resolve: () => Promise.resolve(SNAPSHOT),
};

/** What JavaScript may give, whatever the types say. */
function untyped(value: unknown): never {
  return value as never;
}

const noSettings = { settings: {}, environment: {}, home: '/' };

function resolve(
  hub: Partial<Hub>,
  more: { readonly silenceMs?: number; readonly context?: Partial<HubContext> } = {},
): Promise<Snapshot> {
  const { guard } = makeGuard(more.silenceMs);
  const context = { ...createHubContext(plain), ...more.context };
  return guardHub({ ...plain, ...hub }, guard).resolve({ hub: 'acme', id: 'bert' }, context);
}

describe('a hub that resolves', () => {
  it('gives what it gives', async () => {
    expect(await resolve({})).toBe(SNAPSHOT);
    expect(await resolve({ resolve: () => Promise.resolve({ ...SNAPSHOT, files: [] }) })).toMatchObject({
      files: [],
    });
  });

  it('tells addresses of files, or is named', () => {
    const { guard } = makeGuard();
    const tell = (addressOf: Hub['addressOf']) => () =>
      guardHub({ ...plain, ...(addressOf === undefined ? {} : { addressOf }) }, guard).addressOf?.(
        'a',
        { id: 'bert', revision: '1' },
        noSettings,
      );
    expect(tell(() => 'https://acme.example/a')()).toBe('https://acme.example/a');
    expect(tell(() => undefined)()).toBeUndefined();
    expect(tell(() => untyped('file:///etc/passwd'))).toThrow(/\.\/acme\.mjs returned an address of a file/);
    expect(
      tell(() => {
        throw new TypeError('oops');
      }),
    ).toThrow(/\.\/acme\.mjs failed while telling the address of `a`: TypeError: oops/);
  });

  it('is called as the object that it is, also when it is made of a class', async () => {
    class Acme {
      readonly name = 'acme';
      readonly title = 'Acme';
      readonly syntax = plain.syntax;
      private readonly given = SNAPSHOT;
      resolve(): Promise<Snapshot> {
        return Promise.resolve(this.given);
      }
    }
    const { guard } = makeGuard();
    const hub = guardHub(new Acme(), guard);
    expect(await hub.resolve({ hub: 'acme', id: 'bert' }, createHubContext(plain))).toBe(SNAPSHOT);
  });

  it.each<[string, unknown, RegExp]>([
    ['nothing', undefined, /it should be an object/],
    ['no files', { ...SNAPSHOT, files: undefined }, /`files` is missing/],
    ['another hub', { ...SNAPSHOT, hub: 'hf' }, /a snapshot of `hf` in place of `acme`/],
    [
      'a size that is none',
      { ...SNAPSHOT, files: [{ path: 'a', size: -1, url: 'https://x/a' }] },
      /`files\.0\.size`/,
    ],
    [
      'a data address in plain text',
      { ...SNAPSHOT, files: [{ path: 'a', url: 'data:text/plain,abc' }] },
      /`files\.0\.url` should be a data address in base64/,
    ],
    [
      'an address that is none',
      { ...SNAPSHOT, files: [{ path: 'a', url: 'ftp://x/a' }] },
      /`files\.0\.url`.*"ftp:/,
    ],
    [
      'an algorithm that is not known',
      { ...SNAPSHOT, files: [{ path: 'a', url: 'https://x/a', digest: { algorithm: 'md5', hex: '' } }] },
      /`files\.0\.digest\.algorithm`/,
    ],
    ['a revision that is empty', { ...SNAPSHOT, revision: '' }, /`revision`/],
  ])('and gives %s, is told from a model that is wrong', async (_what, given, message) => {
    const error = await refusalOf(resolve({ resolve: () => untyped(given) }), 'INTERNAL');
    expect(error.message).toMatch(message);
    expect(error.message).toContain('./acme.mjs');
    expect(error.hint).toMatch(BUG);
  });

  it('makes no file of this machine part of a model when it has a server', async () => {
    const files = [{ path: 'a', url: 'file:///etc/hostname' }];
    const local = (): Promise<Snapshot> => Promise.resolve({ ...SNAPSHOT, files });
    expect(await resolve({ resolve: local })).toMatchObject({ files });
    const error = await refusalOf(
      resolve({ resolve: local, endpoint: () => 'https://acme.example' }),
      'INTERNAL',
    );
    expect(error.message).toContain('a file of this machine');
  });

  it('and throws a ModeldlError, of this copy of modeldl or of another, is believed', async () => {
    const own = new ModeldlError('GATED', 'Ask first', { hint: 'ask', details: { url: 'https://x' } });
    expect(await refusalOf(resolve({ resolve: () => Promise.reject(own) }), 'GATED')).toBe(own);
    const foreign = Object.assign(new Error('Ask first'), {
      name: 'ModeldlError',
      code: 'GATED',
      hint: 'ask',
      details: { url: 'https://x' },
    });
    const error = await refusalOf(resolve({ resolve: () => Promise.reject(foreign) }), 'GATED');
    expect(error).toMatchObject({ message: 'Ask first', hint: 'ask', details: { url: 'https://x' } });
  });

  it.each<[string, unknown, RegExp]>([
    ['another error', new TypeError('x is null'), /failed while resolving `bert`: TypeError: x is null/],
    ['a code that is none', Object.assign(new Error('x'), { name: 'ModeldlError', code: 'OOPS' }), /failed/],
    ['no error', 'x', /failed while resolving `bert`: x/],
  ])('and throws %s, is named', async (_what, thrown, message) => {
    // At once, not by a promise.
    const error = await refusalOf(
      resolve({
        resolve: () => {
          throw thrown;
        },
      }),
      'INTERNAL',
    );
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(BUG);
  });

  it('and hangs, is given up, with the code of a server that does not answer', async () => {
    const error = await refusalOf(
      resolve({ resolve: () => new Promise(() => undefined) }, { silenceMs: 20 }),
      'NETWORK',
    );
    expect(error.message).toContain('hangs');
    expect(error.hint).toMatch(BUG);
  });

  it('and waits for a server, is not given up before that answers', async () => {
    vi.useFakeTimers();
    try {
      let answer: (response: Response) => void = () => undefined;
      const answered = new Promise<Response>((done) => (answer = done));
      const asking = async (_reference: unknown, context: HubContext): Promise<Snapshot> => {
        await context.fetch('https://acme.example');
        return SNAPSHOT;
      };
      const resolving = resolve({ resolve: asking }, { silenceMs: 1000, context: { fetch: () => answered } });
      await vi.advanceTimersByTimeAsync(10_000);
      answer(new Response());
      expect(await resolving).toBe(SNAPSHOT);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('and does not listen, is left behind when it is aborted', async () => {
    const stop = new AbortController();
    const context = { ...createHubContext(plain), signal: stop.signal };
    const work = refusalOf(
      resolve({ resolve: () => new Promise(() => undefined) }, { context }),
      'INTERRUPTED',
    );
    stop.abort();
    await work;
    expect(abortError(stop.signal).code).toBe('INTERRUPTED');
  });
});

describe('a hub that searches', () => {
  function search(hub: Partial<Hub>): Promise<unknown> {
    const guarded = guardHub({ ...plain, ...hub }, makeGuard().guard);
    return (async () => {
      const hits: unknown[] = [];
      for await (const hit of guarded.search?.({ text: 'bert', limit: 1 }, createHubContext(plain)) ?? [])
        hits.push(hit);
      return hits;
    })();
  }

  it('gives what it finds, one by one', async () => {
    async function* found() {
      yield await Promise.resolve({ reference: { id: 'bert' } });
    }
    expect(await search({ search: found })).toEqual([{ reference: { id: 'bert' } }]);
  });

  it('and throws, is blamed', async () => {
    // eslint-disable-next-line require-yield
    async function* failing() {
      await Promise.resolve();
      throw new TypeError('x is not a function');
    }
    const error = await refusalOf(search({ search: failing }), 'INTERNAL');
    expect(error.message).toContain('./acme.mjs failed while searching: TypeError: x is not a function');
    expect(error.hint).toMatch(BUG);
  });

  it('keeps no hooks for programs of this machine', () => {
    const guarded = guardHub({ ...plain, program: untyped({}), key: untyped({}) }, makeGuard().guard);
    expect(guarded).not.toHaveProperty('program');
    expect(guarded).not.toHaveProperty('key');
  });
});

describe('what others depend on', () => {
  it('is something harmless when it fails, and is told once', () => {
    const { guard, warnings } = makeGuard();
    const fail = (): never => {
      throw new TypeError('x is null');
    };
    const hub = guardHub(
      {
        ...plain,
        syntax: { ...plain.syntax, fromWebAddress: fail },
        endpoint: fail,
        credentials: { environment: ['ACME_TOKEN'], endpoint: fail, files: fail, whoami: fail },
      },
      guard,
    );
    for (let times = 0; times < 2; times += 1) {
      expect(hub.endpoint?.(noSettings)).toBeUndefined();
      expect(hub.syntax.fromWebAddress?.(new URL('https://x'))).toBeUndefined();
      expect(hub.credentials?.files?.(noSettings)).toEqual([]);
      // Where no token is sent.
      expect(hub.credentials?.endpoint(noSettings)).toBe('https://plugin.invalid');
    }
    expect(warnings).toHaveLength(4);
    expect(warnings[0]).toContain('./acme.mjs');
  });

  it('an endpoint that is no address is none', () => {
    const { guard, warnings } = makeGuard();
    const hub = guardHub({ ...plain, endpoint: () => 'acme' }, guard);
    expect(hub.endpoint?.(noSettings)).toBeUndefined();
    expect(warnings[0]).toContain('"acme"');
  });

  it('a setting may be changed by a project only where its plugin says so', () => {
    const setting = { description: 'x', type: 'string' } as const;
    const { guard } = makeGuard();
    const { settings } = guardHub(
      { ...plain, settings: { server: setting, page: { ...setting, trust: false } } },
      guard,
    );
    expect(settings).toMatchObject({ server: { trust: true }, page: { trust: false } });
  });
});

describe('references', () => {
  const options = { cwd: '/', home: '/' };

  it('are read and written by the plugin', () => {
    const { guard } = makeGuard();
    const { syntax } = guardHub(
      {
        ...plain,
        syntax: {
          ...plain.syntax,
          parse: (rest) => ({ id: rest.toUpperCase() }),
          format: ({ id }) => `acme:${id.toLowerCase()}`,
        },
      },
      guard,
    );
    const reference = parseReference('acme:bert', [syntax], options);
    expect(reference).toEqual({ hub: 'acme', id: 'BERT' });
    expect(formatReference(reference, [syntax])).toBe('acme:bert');
  });

  it.each<[string, unknown, RegExp]>([
    ['nothing', undefined, /reference that is malformed/],
    ['an empty id', { id: '' }, /`id` should be a text that is not empty/],
    ['no text as revision', { id: 'x', revision: 7 }, /`revision` should be a text, and is 7/],
  ])('that it reads as %s are refused', (_what, parts, message) => {
    const { guard } = makeGuard();
    const { syntax } = guardHub(
      { ...plain, syntax: { ...plain.syntax, parse: () => untyped(parts) } },
      guard,
    );
    expect(() => parseReference('acme:bert', [syntax], options)).toThrow(message);
  });
});

describe('a converter', () => {
  const model: PlannedModel = {
    ...{ reference: 'acme:bert', hub: 'acme', id: 'bert', name: 'bert', files: [], metadata: {} },
    text: () => Promise.resolve('{}'),
  };
  const request: ConversionRequest = untyped({ precision: 'fp32', device: 'CPU', settings: {} });
  const plan: ConversionPlan = {
    ...{ converter: 'press', toolchain: 'none', reads: ['a'], device: 'CPU' },
    precision: 'fp32',
    ...{ settings: { rank: 1 }, steps: [], adjustments: [] },
    estimate: { diskBytes: 1, resultBytes: 1, memoryBytes: 1 },
  };
  const press: Converter = {
    ...{ name: 'press', accepts: 'all', makes: 'some', toolchains: ['none'], settings: {} },
    plan: () => Promise.resolve(plan),
    run: () => Promise.resolve({ versions: {}, warnings: [] }),
    check: () => Promise.resolve({ passed: true, compared: false, outputs: [], warnings: [] }),
  };
  const context: Parameters<Converter['run']>[3] = untyped({ signal: new AbortController().signal });
  const local: Parameters<Converter['run']>[0] = untyped({ ...model, root: '/' });

  it('makes another thing in another version', async () => {
    const { guard } = makeGuard();
    expect(await guardConverter(press, guard).plan(model, request)).toEqual({
      ...plan,
      settings: { rank: 1, plugin: 'acme@1.0.0' },
    });
  });

  it('is asked for settings that it has, and makes another thing with another value', async () => {
    const { guard } = makeGuard();
    const converter = guardConverter({ ...press, settings: { level: 'how much' } }, guard);
    const set = (settings: Readonly<Record<string, string>>) =>
      converter.plan(model, { ...request, settings });
    expect(await set({ level: '2' })).toMatchObject({ settings: { level: '2', rank: 1 } });
    const error = await refusalOf(set({ levle: '2' }), 'USAGE');
    expect(error.message).toBe('`press` has no setting levle');
    expect(error.hint).toContain('modeldl converters press');
  });

  it.each<[string, () => unknown, RegExp]>([
    ['fails', () => Promise.reject(new TypeError('x is null')), /TypeError: x is null/],
    ['gives nothing', () => Promise.resolve(), /malformed/],
    ['gives half a plan', () => Promise.resolve({ ...plan, reads: undefined }), /malformed/],
    ['plans for another', () => Promise.resolve({ ...plan, converter: 'nncf' }), /planned for `nncf`/],
    [
      'plans for a toolchain of others',
      () => Promise.resolve({ ...plan, toolchain: 'optimum' }),
      /`optimum`/,
    ],
    ['hangs', () => new Promise(() => undefined), /hangs/],
  ])('that %s leaves the model to the others', async (_what, given, message) => {
    const { guard, warnings } = makeGuard(20);
    const planned = await guardConverter({ ...press, plan: () => untyped(given()) }, guard).plan(
      model,
      request,
    );
    expect(planned).toMatchObject({
      refused: expect.stringMatching(message) as unknown,
      handlesModel: false,
    });
    expect(warnings).toEqual([expect.stringMatching(message)]);
  });

  it('refuses a request as it wants to', async () => {
    const { guard } = makeGuard();
    const usage = new ModeldlError('USAGE', 'Unknown setting');
    const refusing = guardConverter({ ...press, plan: () => Promise.reject(usage) }, guard);
    expect(await refusalOf(refusing.plan(model, request), 'USAGE')).toBe(usage);
  });

  it.each<[string, Partial<Converter>, 'CONVERSION' | 'INTERNAL', RegExp]>([
    [
      'fails',
      { run: () => Promise.reject(new Error('no room')) },
      'CONVERSION',
      /converting acme:bert: Error: no room/,
    ],
    ['reports nothing', { run: () => untyped(Promise.resolve()) }, 'INTERNAL', /a report that is malformed/],
  ])('that %s while it runs, is named', async (_what, broken, code, message) => {
    const { guard } = makeGuard();
    const converter = guardConverter({ ...press, ...broken }, guard);
    const error = await refusalOf(converter.run(local, plan, '/out', context), code);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(BUG);
  });

  it('that checks nothing has no report', async () => {
    const { guard } = makeGuard();
    const converter = guardConverter({ ...press, check: () => untyped(Promise.resolve(true)) }, guard);
    await refusalOf(converter.check(local, plan, '/out', context), 'INTERNAL');
  });
});
