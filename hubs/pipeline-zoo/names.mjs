/**
 * Prints `manifest.ts`: the files of every model at the last commit of the Pipeline Zoo's repository, which is archived.
 * Run by `npm run names:pipeline-zoo -- <git directory>`; blobs that are not in the clone have no size there.
 */
import { execFileSync } from 'node:child_process';
import { argv, stdout } from 'node:process';

const [, , repository = '.'] = argv;
const git = (...args) => execFileSync('git', ['-C', repository, ...args], { encoding: 'utf8' });
const LICENSES = [
  [/^\s*Apache License\s+Version 2\.0/, 'apache-2.0'],
  [/^\s*MIT License/, 'mit'],
  [/^\s*GNU GENERAL PUBLIC LICENSE\s+Version 3/, 'gpl-3.0'],
];

const models = {};
for (const line of git('ls-tree', '-r', '-l', 'HEAD', 'storage').trim().split('\n')) {
  const [facts, path] = line.split('\t');
  const [, , id, size] = facts.split(/\s+/);
  const [, name, ...rest] = path.split('/');
  const model = (models[name] ??= { files: [] });
  model.files.push([rest.join('/'), id, /^\d+$/.test(size) ? Number(size) : null]);
  if (rest.join('/') === 'LICENSE') {
    const text = git('cat-file', 'blob', id);
    const license = LICENSES.find(([pattern]) => pattern.test(text))?.[1];
    if (license !== undefined) model.license = license;
  }
}

stdout.write(`/** Made by \`npm run names:pipeline-zoo\`: the models of the Pipeline Zoo, and their files as git knows them. */

/** The last commit: the repository is archived. */
export const COMMIT = ${JSON.stringify(git('rev-parse', 'HEAD').trim())};

/** Path, id of the git blob, and bytes where they are known. */
export type ZooFile = readonly [path: string, blob: string, size: number | null];

export interface ZooModel {
  readonly license?: string;
  readonly files: readonly ZooFile[];
}

/** By name, as the folders below \`storage\` are called. */
export const MODELS: Readonly<Record<string, ZooModel>> = ${JSON.stringify(models)};
`);
