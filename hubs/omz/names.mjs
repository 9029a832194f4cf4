/**
 * Prints `names.ts`: the models of Open Model Zoo's newest release, and the commits of its releases.
 * Run by `npm run names:omz -- <git directory>`, a clone with all tags.
 */
import { execFileSync } from 'node:child_process';
import { argv, stdout } from 'node:process';
import { CORE_SCHEMA, load } from 'js-yaml';

const [, , repository = '.'] = argv;
const git = (...args) =>
  execFileSync('git', ['-C', repository, ...args], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
const lines = (text) => text.split('\n').filter((line) => line !== '');
const compare = new Intl.Collator('en', { numeric: true }).compare;

// Before 2020.1 files are described in another way.
const tags = lines(git('tag'))
  .filter((tag) => /^20[2-9]\d\.\d+(\.\d+)?$/.test(tag))
  .sort(compare);
const release = tags.at(-1);
const paths = lines(git('ls-tree', '-r', '--name-only', release, 'models'));
const places = (file) =>
  paths
    .filter((path) => path.endsWith(`/${file}`))
    .map((path) => path.slice('models/'.length, -file.length - 1));
const composites = places('composite-model.yml');
const tasks = new Map();
const frameworks = new Map();
const precisions = new Map();
const add = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value].sort(compare));
for (const [file, listed] of [
  ['model.yml', places('model.yml')],
  ['composite-model.yml', composites],
]) {
  for (const place of listed) {
    const {
      task_type: task,
      framework,
      files = [],
    } = load(git('show', `${release}:models/${place}/${file}`), { schema: CORE_SCHEMA });
    const name = place.slice(place.lastIndexOf('/') + 1);
    const folders = files.flatMap((part) => /^(FP[^/]*)\/[^/]+$/.exec(part.name)?.[1] ?? []);
    add(tasks, task, place);
    if (framework !== 'dldt') add(frameworks, framework, name);
    if (folders.length > 0) add(precisions, [...new Set(folders)].sort(compare).join(' '), name);
  }
}
const prepared = places('pre-convert.py').map((place) => place.slice(place.lastIndexOf('/') + 1));
const sorted = (map) => Object.fromEntries([...map].sort(([a], [b]) => compare(a, b)));
const commits = Object.fromEntries(tags.map((tag) => [tag, git('rev-parse', `${tag}^{commit}`).trim()]));

stdout.write(`/** Made by \`npm run names:omz\`: what Open Model Zoo's releases are, and what is in the newest. */

/** The release that a name without a revision means. */
export const RELEASE = ${JSON.stringify(release)};

/** Commits by release. */
export const RELEASES: Readonly<Record<string, string>> = ${JSON.stringify(commits)};

/** Models of several stages, each with a folder and description of its own. */
export const COMPOSITES: readonly string[] = ${JSON.stringify(composites.sort(compare))};

/** Models that a script of their folder makes ready to be converted, which descriptions do not tell. */
export const PREPARED: readonly string[] = ${JSON.stringify(prepared.sort(compare))};

/** Folders below \`models\` by task; the last segment is the name. */
export const PLACES: Readonly<Record<string, readonly string[]>> = ${JSON.stringify(sorted(tasks))};

/** Names by framework; all others are OpenVINO IR. */
export const FRAMEWORKS: Readonly<Record<string, readonly string[]>> = ${JSON.stringify(sorted(frameworks))};

/** Names of models in IR by the folders that they have. */
export const FOLDERS: Readonly<Record<string, readonly string[]>> = ${JSON.stringify(sorted(precisions))};
`);
