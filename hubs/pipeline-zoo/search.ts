/** Search in the list of the Pipeline Zoo's models, without a request. */
import type { SearchHit, SearchQuery } from '../../src/hub.js';
import { matching } from '../search-names.js';
import type { ZooModel } from './manifest.js';

export function* search(
  { text, precision }: SearchQuery,
  models: Readonly<Record<string, ZooModel>>,
  pageOf: (name: string) => string,
): Iterable<SearchHit> {
  const entries = Object.entries(models).map(([name, model]) => ({ name, model }));
  for (const { name, model } of matching(entries, text)) {
    const folders = foldersOf(model);
    const folder = folders.find((one) => precisionOf(one) === precision);
    if (precision !== undefined && folder === undefined) continue;
    yield {
      reference: { id: name, ...(folder === undefined ? {} : { subpath: folder }) },
      ...(model.license === undefined ? {} : { license: model.license }),
      precisions: precision === undefined ? [...new Set(folders.map(precisionOf))] : [precision],
      page: pageOf(name),
    };
  }
}

/** Folders with an IR. */
function foldersOf({ files }: ZooModel): readonly string[] {
  const folders = files.flatMap(([path]) => /^([^/]+)\/[^/]+\.xml$/.exec(path)?.slice(1) ?? []);
  return [...new Set(folders)];
}

/** `FP16-INT8` has weights of eight bits, and computes the rest in sixteen. */
function precisionOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('-') + 1).toLowerCase();
}
