/**
 * The cache of Hugging Face's own programs: `models--org--name` with `blobs`, `snapshots/<commit>` of links to them, and
 * `refs`, which say what a branch or tag means without network.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { hubNamed, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { ModelRecord } from '../store/record.js';
import { placeOf, type Exported, type Laid, type Work } from './layouts.js';
import { distinct, textFile, type TreeEntry } from './tree.js';

/** What its programs take for the name of a repository: at most 96 characters, `--` and `..` in none of them. */
const REPOSITORY = /^(?!.*(--|\.\.))(?=.{1,96}$)[a-z0-9]([\w.-]*[\w])?(\/\w([\w.-]*[\w])?)?$/i;
/** The branch that is meant when none is named. */
const DEFAULT_BRANCH = 'main';

/** @throws ModeldlError USAGE */
export function cacheTree(context: Context, { models, options }: Work): Laid {
  const names = models.map(({ model }) => options.name ?? repositoryOf(context, model.record));
  for (const [at, name] of names.entries()) if (!REPOSITORY.test(name)) throw unnameable(name, models[at]);
  const entries = models.flatMap((one, at) => entriesOf(context, one, names[at] ?? ''));
  return { tree: { entries: distinct(entries), owned: [] }, names };
}

function unnameable(name: string, exported: Exported | undefined): ModeldlError {
  return new ModeldlError('USAGE', `Not the name of a repository: ${name}`, {
    hint: 'choose one with `--name`, such as `--name org/model`',
    details: { reference: exported?.requested ?? name },
  });
}

/** As its hub has it there; else one that says which hub it is of. A conversion is another repository. */
function repositoryOf(context: Context, record: ModelRecord): string {
  const { hub, id, conversion } = record;
  const repository = hubNamed(context, hub).repository?.(id);
  if (repository === undefined) return `${hub}/${nameable(placeOf(context, record))}`;
  const suffix = placeOf(context, {
    hub,
    id: 'x',
    ...(conversion === undefined ? {} : { conversion }),
  }).slice(1);
  return `${repository}${suffix}`;
}

function nameable(text: string): string {
  return text
    .replace(/[^\w.-]+/g, '-')
    .replace(/-{2,}/g, '-')
    .replace(/\.{2,}/g, '.')
    .replace(/^[-._]+|[-._]+$/g, '')
    .slice(0, 80);
}

/** Of what is no commit one is made, so that equal models have equal ones. */
function commitOf({ revision, conversion }: ModelRecord): string {
  if (conversion !== undefined) return conversion.key.slice(0, 40);
  if (/^[0-9a-f]{40}$/.test(revision)) return revision;
  return createHash('sha256').update(revision).digest('hex').slice(0, 40);
}

/** Where a file is in its repository, of which a subpath may be all that is stored. */
function pathIn({ subpath, single, conversion }: ModelRecord, path: string): string {
  if (subpath === undefined || conversion !== undefined) return path;
  return single === undefined ? `${subpath}/${path}` : subpath;
}

function entriesOf(context: Context, { model, asked }: Exported, name: string): readonly TreeEntry[] {
  const { record, directory } = model;
  const root = `models--${name.replaceAll('/', '--')}`;
  const commit = commitOf(record);
  const { revision } = asked;
  // Who named a commit has not said what its branch is now; without a name for it nothing finds it offline.
  const isPinned = revision === undefined ? asked.sha256 !== undefined : true;
  const branch: TreeEntry = {
    ...textFile(`${root}/refs/${DEFAULT_BRANCH}`, commit),
    role: isPinned ? 'default' : 'latest',
  };
  const isRef =
    revision !== undefined &&
    revision !== record.revision &&
    hubNamed(context, record.hub).repository !== undefined;
  return [
    branch,
    ...(isRef ? [{ ...textFile(`${root}/refs/${revision}`, commit), role: 'latest' as const }] : []),
    ...record.files.flatMap(({ path, bytes, sha256, upstream }): readonly TreeEntry[] => {
      // Files in Git are named by Git's own digest, large ones by their sha256.
      const blob = upstream?.algorithm === 'git-sha1' ? upstream.hex : sha256;
      const whole = pathIn(record, path);
      const up = '../'.repeat(whole.split('/').length + 1);
      return [
        { path: `${root}/blobs/${blob}`, bytes, sha256, from: join(directory, path), role: 'named' },
        { path: `${root}/snapshots/${commit}/${whole}`, to: `${up}blobs/${blob}` },
      ];
    }),
  ];
}
