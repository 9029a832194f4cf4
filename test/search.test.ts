/** Searching several hubs at once, of which any may be slow, broken or somebody else's. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ModeldlError } from '../src/errors.js';
import type { Hub, SearchAbilities, SearchHit, SearchQuery } from '../src/hub.js';
import { createModeldl, type Modeldl, type ModeldlEvent, type ModeldlOptions } from '../src/index.js';
import type { SearchOptions } from '../src/search.js';
import { temporaryDirectory } from './helpers/store.js';

const ALL: SearchAbilities = {
  filters: ['task', 'precision', 'library', 'license'],
  orders: ['downloads', 'likes', 'updated'],
};

function hubThat(name: string, search: NonNullable<Hub['search']>, more: Partial<Hub> = {}): Hub {
  return {
    name,
    title: `The ${name}`,
    syntax: { hub: name, schemes: [name] },
    resolve: () => Promise.reject(new Error('Nothing is resolved here')),
    search,
    searches: ALL,
    ...more,
  };
}

/** Yields these, and notes what it was asked. */
function hubWith(
  name: string,
  hits: readonly (SearchHit | string)[],
  more: Partial<Hub> = {},
  asked: SearchQuery[] = [],
): Hub {
  return hubThat(
    name,
    async function* (query) {
      asked.push(query);
      await Promise.resolve();
      for (const hit of hits) yield typeof hit === 'string' ? { reference: { id: hit } } : hit;
    },
    more,
  );
}

const open: Modeldl[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const modeldl of open.splice(0)) await modeldl.close();
});

async function search(
  hubs: readonly Hub[],
  text = 'x',
  options: SearchOptions = {},
  more: Partial<ModeldlOptions> = {},
) {
  const directory = await temporaryDirectory();
  const modeldl = await createModeldl({
    cwd: directory,
    home: directory,
    environment: {},
    plugins: { hubs, converters: [], toolchains: [] },
    ...more,
  });
  open.push(modeldl);
  return modeldl.search(text, options);
}

async function refused(work: Promise<unknown>): Promise<ModeldlError> {
  const error = await work.then(
    () => expect.fail('Expected a refusal'),
    (thrown: unknown) => thrown,
  );
  return error instanceof ModeldlError ? error : expect.fail(`Expected a ModeldlError, got ${String(error)}`);
}

const references = ({ models }: Awaited<ReturnType<typeof search>>): readonly string[] =>
  models.map(({ reference }) => reference);

describe('a search that is ended', () => {
  it('ends what its hubs do, and leaves the next one alone', async () => {
    const signals: AbortSignal[] = [];
    const one = hubThat('one', async function* (query, { signal }) {
      signals.push(signal);
      if (query.text === 'first')
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reject(new Error('aborted'));
          });
        });
      yield { reference: { id: query.text } };
    });
    const ending = new AbortController();
    const first = refused(search([one], 'first', { signal: ending.signal }));
    await vi.waitFor(() => {
      expect(signals).toHaveLength(1);
    });
    ending.abort();
    expect((await first).code).toBe('INTERRUPTED');
    expect(signals[0]?.aborted).toBe(true);
    const next = await search([one], 'next', { signal: new AbortController().signal });
    expect(references(next)).toEqual(['one:next']);
  });
});

describe('what hubs find', () => {
  it('comes hub by hub, in the order of the table or as they are named', async () => {
    const hubs = [hubWith('one', ['b', 'a']), hubWith('two', ['c'])];
    expect(references(await search(hubs))).toEqual(['one:b', 'one:a', 'two:c']);
    const named = await search(hubs, 'x', { hubs: ['two', 'one', 'two'] });
    expect(references(named)).toEqual(['two:c', 'one:b', 'one:a']);
  });

  it('has every fact, as null where the hub does not tell it', async () => {
    const { models, hubs } = await search([hubWith('one', ['a'])]);
    expect(models).toEqual([
      {
        reference: 'one:a',
        hub: 'one',
        id: 'a',
        ...{ task: null, library: null, license: null, scale: null, parameters: null, bytes: null },
        ...{ downloads: null, likes: null, updatedAt: null, gated: null, private: null, page: null },
        precisions: [],
      },
    ]);
    expect(hubs).toEqual([{ hub: 'one', models: 1, more: false, note: null }]);
  });

  it('is put in order across hubs when it is sorted, and by reference where that is alike', async () => {
    const hit = (id: string, downloads?: number): SearchHit => ({
      reference: { id },
      ...(downloads === undefined ? {} : { downloads }),
    });
    const hubs = [
      hubWith('one', [hit('d', 9), hit('c', 2), hit('b')]),
      hubWith('two', [hit('e', 5), hit('a', 2)]),
    ];
    const found = await search(hubs, 'x', { sort: 'downloads' });
    expect(references(found)).toEqual(['one:d', 'two:e', 'one:c', 'two:a', 'one:b']);
    const dated = (id: string, updatedAt: string): SearchHit => ({ reference: { id }, updatedAt });
    const times = [dated('old', '2026-01-01T00:00:00Z'), dated('new', '2026-01-01T00:00:00+01:00')];
    expect(references(await search([hubWith('one', times)], 'x', { sort: 'updated' }))).toEqual([
      'one:old',
      'one:new',
    ]);
  });

  it('is read no further than the limit and one more, and says where there is more', async () => {
    let read = 0;
    const endless = hubThat('endless', async function* () {
      await Promise.resolve();
      for (;;) yield { reference: { id: `model-${(read += 1)}` } };
    });
    const found = await search([endless, hubWith('one', ['a', 'b'])], 'x', { limit: 2 });
    expect(found.hubs.map(({ more }) => more)).toEqual([true, false]);
    expect(found.models).toHaveLength(4);
    expect(read).toBe(3);
  });

  it('is asked for in a normal form', async () => {
    const asked: SearchQuery[] = [];
    const wanted = {
      task: ' Text-Generation',
      precision: 'INT8',
      library: 'ONNX ',
      license: 'MIT',
      sort: 'likes',
    };
    await search([hubWith('one', [], {}, asked)], '  two \t words ', { ...wanted, limit: 5 });
    expect(asked).toEqual([
      {
        text: 'two words',
        ...{ task: 'text-generation', precision: 'int8', library: 'ONNX', license: 'mit' },
        order: 'likes',
        limit: 6,
      },
    ]);
  });

  it('holds only what a reference can be written for, once each, and words in one line', async () => {
    const hits: SearchHit[] = [
      { reference: { id: 'good' }, task: 'two\nlines\u001b[2J', license: 'x'.repeat(999), library: ' ' },
      { reference: { id: 'good' } },
      { reference: { id: 'a@b', revision: 'v1', subpath: 'c/d' } },
      { reference: { id: 'ends+int8-cpu' } },
      { reference: { id: 'line\nbreak' } },
      { reference: { id: 'clear\u001b[2J' } },
      { reference: { id: 'zero\0' } },
      { reference: { id: 'up', subpath: '../..' } },
    ];
    const found = await search([hubWith('one', hits)]);
    expect(references(found)).toEqual([
      'one:good',
      'one:a%40b@v1//c/d',
      'one:ends%2Bint8-cpu',
      'one:line%0Abreak',
    ]);
    expect(found.models[0]).toMatchObject({ task: 'two lines\\x1b[2J', library: null });
    expect(found.models[0]?.license).toHaveLength(200);
  });

  it('holds no signs that are not seen, and no more precisions than a model can have', async () => {
    const precisions = Array.from({ length: 500 }, (_, at) => `t${at}`);
    const hits: readonly SearchHit[] = [
      { reference: { id: 'a' }, task: 'text\u202e-ksat\u2066', license: '\u200b', precisions },
      { reference: { id: 'b\u202ecod' } },
    ];
    const { models } = await search([hubWith('one', hits)]);
    expect(models).toMatchObject([{ reference: 'one:a', task: 'text-ksat', license: null }]);
    expect(models[0]?.precisions).toHaveLength(8);
  });

  it('is shown once when a hub serves another', async () => {
    const page = 'https://hub.example/org/a';
    const general = hubWith('general', [
      { reference: { id: 'org/a' }, page },
      { reference: { id: 'org/b' } },
    ]);
    const short = hubWith('short', [{ reference: { id: 'a' }, page }], { servedBy: 'general' });
    const found = await search([general, short]);
    expect(references(found)).toEqual(['general:org/b', 'short:a']);
    expect(found.hubs.map(({ models }) => models)).toEqual([1, 1]);
    expect(references(await search([general, short], 'x', { hubs: ['general'] }))).toContain('general:org/a');
  });
});

describe('what a hub cannot answer', () => {
  const some = hubWith('some', ['a'], { searches: { filters: ['task'], orders: ['likes'] } });
  const none = hubWith('none', ['b']);
  const { searches, ...silent } = none;
  const mute: Hub = {
    ...{ name: 'mute', title: 'The mute', syntax: { hub: 'mute', schemes: ['mute'] } },
    resolve: () => Promise.reject(new Error('Nothing is resolved here')),
  };

  it.each<[SearchOptions, string]>([
    [{ precision: 'int8' }, 'cannot filter by precision'],
    [{ license: 'mit', library: 'x', task: 'y' }, 'cannot filter by library or filter by license'],
    [{ sort: 'downloads' }, 'cannot sort by downloads'],
  ])('is refused where it was named, and said where not: %j', async (options, reason) => {
    const error = await refused(search([some, none], 'x', { ...options, hubs: ['some', 'none'] }));
    expect(error).toMatchObject({ code: 'USAGE', message: `The search of The some ${reason} (some)` });
    expect(error.hint).toBe('hubs that can: none');
    const found = await search([some, none], 'x', options);
    expect(references(found)).toEqual(['none:b']);
    expect(found.leftOut).toEqual([{ hub: 'some', reason }]);
  });

  it('is everything but words where it says nothing', async () => {
    expect(searches).toBeDefined();
    expect(references(await search([silent]))).toEqual(['none:b']);
    const error = await refused(search([silent], 'x', { task: 'y' }));
    expect(error).toMatchObject({ code: 'USAGE', message: 'No hub can answer that' });
    expect(error.hint).toBe('none cannot filter by task');
  });

  it('is everything but words where nobody understands what it says', async () => {
    for (const odd of [{}, 7, { filters: 'task', orders: [] }, { filters: [3] }]) {
      const strange = hubWith('strange', ['a'], { searches: odd as never });
      expect(references(await search([strange]))).toEqual(['strange:a']);
      expect(await refused(search([strange], 'x', { task: 'y' }))).toMatchObject({ code: 'USAGE' });
    }
  });

  it('is everything where it has no search', async () => {
    const error = await refused(search([some, mute], 'x', { hubs: ['mute'] }));
    expect(error).toMatchObject({ code: 'USAGE', hint: 'hubs that can: some' });
    expect(error.message).toContain('The mute cannot be searched (mute)');
    expect((await search([some, mute])).leftOut).toEqual([]);
  });

  it('may be told by the hub itself', async () => {
    const picky = hubThat('picky', () => {
      throw new ModeldlError('USAGE', 'No task y here', { hint: 'tasks are z' });
    });
    const all = await search([picky, none]);
    expect(all).toMatchObject({ errors: [], leftOut: [{ hub: 'picky', reason: 'No task y here' }] });
    const named = await search([picky, none], 'x', { hubs: ['picky', 'none'] });
    expect(named.errors).toMatchObject([
      { code: 'USAGE', message: 'picky: No task y here', hint: 'tasks are z' },
    ]);
    expect(references(named)).toEqual(['none:b']);
  });

  it.each<[SearchOptions, string]>([
    [{ hubs: ['other'] }, 'Unknown hub: other'],
    [{ sort: 'size' }, 'Expected one of downloads, likes, updated for --sort, got size'],
    [
      { precision: 'int9' },
      'Expected one of fp32, fp16, int8, int4, nf4, mxfp4, cb4 for --precision, got int9',
    ],
    [{ limit: 0 }, 'Expected a number from 1 to 1000 for --limit, got 0'],
    [{ limit: 1001 }, 'Expected a number from 1 to 1000 for --limit, got 1001'],
    [{ task: ' ' }, 'The value of `--task` is empty'],
  ])('is not asked: %j', async (options, message) => {
    const asked: SearchQuery[] = [];
    const error = await refused(search([hubWith('one', [], {}, asked)], 'x', options));
    expect(error).toMatchObject({ code: 'USAGE', message });
    expect(asked).toEqual([]);
  });
});

describe('without a network', () => {
  const local = hubWith('local', ['a'], { searches: { ...ALL, local: true } });

  it('only what needs none is asked', async () => {
    const asked: SearchQuery[] = [];
    const remote = hubWith('remote', ['b'], {}, asked);
    const all = await search([local, remote], 'x', {}, { offline: true });
    expect(references(all)).toEqual(['local:a']);
    expect(all.leftOut).toEqual([{ hub: 'remote', reason: 'needs the network, which --offline forbids' }]);
    const named = await search([local, remote], 'x', { hubs: ['remote', 'local'] }, { offline: true });
    expect(references(named)).toEqual(['local:a']);
    expect(named.errors).toMatchObject([{ code: 'NETWORK', hint: 'run without `--offline`' }]);
    expect(asked).toEqual([]);
  });

  it('a hub whose server is not configured is not there, and says so when it is named', async () => {
    const nowhere = hubThat(
      'nowhere',
      () => {
        throw new ModeldlError('CONFIG', 'Its address is not known');
      },
      { endpoint: () => undefined },
    );
    expect(await search([local, nowhere])).toMatchObject({ leftOut: [], errors: [] });
    const named = await search([local, nowhere], 'x', { hubs: ['nowhere'] });
    expect(named.errors).toMatchObject([{ code: 'CONFIG', details: { hub: 'nowhere' } }]);
  });
});

describe('a hub that fails', () => {
  const good = hubWith('good', ['a']);

  it.each<[string, NonNullable<Hub['search']>, object]>([
    [
      'throws what it knows',
      () => {
        throw new ModeldlError('NETWORK', 'Out of reach', { hint: 'wait', details: { url: 'http://h' } });
      },
      {
        code: 'NETWORK',
        message: 'bad: Out of reach',
        hint: 'wait',
        details: { hub: 'bad', url: 'http://h' },
      },
    ],
    [
      'throws anything',
      () => {
        throw new TypeError('x is not a function');
      },
      { code: 'INTERNAL', message: 'bad: Unexpected: x is not a function', details: { hub: 'bad' } },
    ],
    ['returns no list', () => 7 as never, { code: 'INTERNAL', details: { hub: 'bad' } }],
    [
      'finds what is no model',
      async function* () {
        yield (await Promise.resolve({ reference: { id: 7 } })) as never;
      },
      { code: 'INTERNAL', message: expect.stringContaining('The bad finds what is no model') as string },
    ],
    [
      'has a broken address',
      async function* (_query, context) {
        yield { reference: { id: await (await context.fetch('http://127.0.0.1:1/')).text() } };
      },
      { code: 'NETWORK', details: { hub: 'bad' } },
    ],
  ])('is named, and stops no other: one that %s', async (_name, find, failure) => {
    const found = await search([hubThat('bad', find), good], 'x', {}, { maxWaitMs: 1 });
    expect(found.errors).toMatchObject([failure]);
    expect(references(found)).toEqual(['good:a']);
    expect(found.hubs.map(({ hub }) => hub)).toEqual(['good']);
  });

  it('has told what it told before', async () => {
    const breaking = hubThat('breaking', async function* () {
      yield await Promise.resolve({ reference: { id: 'first' } });
      throw new ModeldlError('NETWORK', 'The second page did not come');
    });
    const found = await search([breaking, good]);
    expect(references(found)).toEqual(['breaking:first', 'good:a']);
    expect(found.errors).toHaveLength(1);
  });

  it('is given its time and no more, whether it listens or not', async () => {
    const reached: string[] = [];
    let arrived: () => void = () => undefined;
    const both = new Promise<void>((resolve) => (arrived = resolve));
    const reach = (name: string): void => {
      reached.push(name);
      if (reached.length === 3) arrived();
    };
    const listening = hubThat('listening', async function* (_query, { signal }) {
      yield await Promise.resolve({ reference: { id: 'begun' } });
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error);
        });
        reach('listening');
      });
    });
    const deaf = hubThat('deaf', async function* () {
      reach('deaf');
      await new Promise(() => undefined);
      yield { reference: { id: 'never' } };
    });
    const quick = hubThat('quick', async function* () {
      yield await Promise.resolve({ reference: { id: 'a' } });
      reach('quick');
    });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const work = search([listening, deaf, quick]);
    await both;
    // Lets the quick one end.
    await new Promise((resolve) => setImmediate(resolve));
    vi.advanceTimersByTime(15_000);
    const found = await work;
    expect(references(found)).toEqual(['listening:begun', 'quick:a']);
    expect(found.errors).toMatchObject([
      { code: 'NETWORK', message: 'listening: The listening did not answer within 15 s' },
      {
        code: 'NETWORK',
        message: 'deaf: The deaf did not answer within 15 s',
        hint: expect.stringContaining('--timeout') as string,
      },
    ]);
  });

  it('ends with the search when that is interrupted', async () => {
    const stop = new AbortController();
    const deaf = hubThat('deaf', async function* () {
      stop.abort();
      await new Promise(() => undefined);
      yield { reference: { id: 'never' } };
    });
    const error = await refused(search([deaf, good], 'x', {}, { signal: stop.signal }));
    expect(error.code).toBe('INTERRUPTED');
  });
});

it('tells who is asked, unless nobody is', async () => {
  const events: ModeldlEvent[] = [];
  const emit = (event: ModeldlEvent): void => void events.push(event);
  const local = hubWith('local', [], { searches: { ...ALL, local: true } });
  await search([local], 'x', {}, { emit });
  expect(events).toEqual([]);
  await search([hubWith('one', []), local, hubWith('two', [])], 'x', {}, { emit });
  expect(events).toEqual([{ type: 'stage', stage: 'Searching', detail: 'one, two' }]);
});
