/** Names from users and hubs at random: whatever they are, nothing crashes and nothing lies outside. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { platform } from 'node:process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hubs } from '../../hubs/index.js';
import { ModeldlError } from '../../src/errors.js';
import { choose, keyOf, knownListing } from '../../src/listing.js';
import { checkListing, checkRelativePath, fileSystemRules } from '../../src/paths.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import { modelPath } from '../../src/store/record.js';
import { temporaryDirectory } from '../helpers/store.js';
import { runs, SEED } from '../helpers/stress.js';

const syntaxes = hubs.map((hub) => hub.syntax);
const allRules = (['linux', 'darwin', 'win32'] as const).map((system) => fileSystemRules(system));

/** The answer, or undefined for a refusal with a code. */
function refusedOr<Result>(work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

/** What references are made of, and what is hard to read in them. */
const pieces = [
  ...syntaxes.flatMap(({ schemes }) => schemes.map((scheme) => `${scheme}:`)),
  ...['https://', 'http://', 'oci://', 'file:', 'host', 'localhost:5000', 'hf.co', 'huggingface.co'],
  ...['org', 'name', 'a.tar.gz', 'x.onnx', 'tree', 'resolve', 'blob', 'refs%2Fpr%2F1', 'main', 'sha256:'],
  ...['/', '//', '@', ':', '+', '#', '%', '%2F', '%2B', '%40', '%25', '%00', '%E2%82', '.', '..', '~', '\\'],
  ...['?', '&', '=', '#sha256=', '#unpack', ' ', '\0', '\n', 'C:\\', 'é', 'e\u0301', '\ud800', '\u202e', '-'],
  ...['a'.repeat(300), 'f'.repeat(40), 'f'.repeat(64), 'int8-cpu', '0123abcd', '__proto__', 'constructor'],
];
const text = fc.oneof(
  fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 40 }),
);

describe('references', () => {
  const parse = (given: string): Reference | undefined =>
    refusedOr(() => parseReference(given, syntaxes, { cwd: '/work', home: '/home/me', endpoints: {} }));

  it('are refused, or are what they are printed as', () => {
    fc.assert(
      fc.property(text, (given) => {
        const reference = parse(given);
        if (reference === undefined) return;
        const printed = formatReference(reference, syntaxes);
        // A query fetches and is part of no name.
        const { openRevision, query, ...read } = reference;
        // Where a pasted address leaves open where its revision ends, its hub says so before anything is printed.
        if (openRevision === undefined) expect(parse(printed)).toEqual(read);
        if (reference.subpath !== undefined)
          expect(reference.subpath.split('/')).not.toEqual(expect.arrayContaining(['..']));
      }),
      { numRuns: runs(5000, 200_000), seed: SEED },
    );
  });

  it('never name a model outside', () => {
    fc.assert(
      fc.property(text, text, (given, revision) => {
        const { hub, id } = parse(given) ?? { hub: 'hf', id: given };
        fc.pre(id !== '');
        const segments = modelPath({ hub, id, revision }).split('/');
        expect(segments).toHaveLength(3);
        for (const rules of allRules) for (const segment of segments) checkRelativePath(segment, rules);
      }),
      { numRuns: runs(2000, 200_000), seed: SEED },
    );
  });
});

const hostile = [
  ...[
    'a',
    'A',
    'b',
    'weights.bin',
    'model.safetensors',
    'con',
    'NUL.txt',
    'é',
    'e\u0301',
    'ß',
    'SS',
    'ﬁ',
    'fi',
  ],
  ...['.', '..', '', ' ', 'a.', 'a ', '~', '-rf', '*', ':', '\\', '\0', '\n', '\u202e', '\ud800', '%2e%2e'],
  ...['C:', '__proto__', 'constructor', 'x'.repeat(255), 'x'.repeat(256), '語'.repeat(90)],
];
const listedPath = fc.oneof(
  fc.array(fc.constantFrom(...hostile), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  fc.string({ unit: 'binary', maxLength: 20 }),
);

describe('listings', () => {
  it('that are accepted can be written, each file inside and none over another', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(listedPath, { minLength: 1, maxLength: 6 }), async (paths) => {
        const accepted = refusedOr(() => {
          checkListing(paths, fileSystemRules(platform));
          return paths;
        });
        if (accepted === undefined) return;
        const root = join(await temporaryDirectory(), 'tree');
        await mkdir(root);
        for (const path of accepted) {
          const target = join(root, path);
          expect(relative(root, target)).toBe(path);
          expect(isAbsolute(path)).toBe(false);
          await mkdir(dirname(target), { recursive: true });
          await writeFile(target, path, { flag: 'wx' });
        }
      }),
      { numRuns: runs(300, 5000), seed: SEED },
    );
  });

  it('collide wherever a system takes two names for one', () => {
    fc.assert(
      fc.property(listedPath, listedPath, (one, other) => {
        for (const rules of allRules) {
          const accepted = refusedOr(() => {
            checkListing([one, other], rules);
            return true;
          });
          if (accepted === undefined) continue;
          const seen = (path: string): string => {
            const formed = rules.normalizing ? path.normalize('NFD') : path;
            return rules.caseInsensitive ? formed.toLowerCase() : formed;
          };
          expect(seen(one)).not.toBe(seen(other));
          expect(seen(one).startsWith(`${seen(other)}/`)).toBe(false);
          expect(seen(other).startsWith(`${seen(one)}/`)).toBe(false);
        }
      }),
      { numRuns: runs(5000, 100_000), seed: SEED },
    );
  });

  it('are chosen from by any subpath and globs without a name that leads outside', () => {
    const glob = fc.oneof(
      fc.constantFrom('*', '**', '*/..', '../*', '[', '[!a]', '!a', 'a/', '{a,b}'),
      listedPath,
    );
    const globs = fc.array(glob, { maxLength: 2 });
    const subpath = fc.option(listedPath, { nil: undefined });
    fc.assert(
      fc.property(
        fc.uniqueArray(listedPath, { maxLength: 8 }),
        subpath,
        globs,
        globs,
        fc.boolean(),
        (paths, inside, include, exclude, allFiles) => {
          const files = paths.map((path) => ({ path, size: 1, url: 'https://host/file' }));
          const snapshot = { hub: 'hf', id: 'org/name', revision: 'main', files, metadata: {} };
          const reference = {
            hub: 'hf',
            id: 'org/name',
            ...(inside === undefined ? {} : { subpath: inside }),
          };
          const listing = knownListing(snapshot) ?? [];
          const selection = refusedOr(() => choose(listing, reference, { include, exclude, allFiles }));
          if (selection === undefined) return;
          for (const { path, file } of selection.chosen) {
            checkRelativePath(path, fileSystemRules(platform));
            expect(file.path.endsWith(path)).toBe(true);
          }
          const [hub, id, name] = modelPath(keyOf(snapshot, snapshot.revision, selection)).split('/');
          expect([hub, id]).toEqual(['hf', 'org--name']);
          if (selection.complete) expect(selection.chosen).toHaveLength(paths.length);
          else expect(name).toContain('+');
        },
      ),
      { numRuns: runs(3000, 300_000), seed: SEED },
    );
  });
});
