/** In which precisions a model of Open Model Zoo is published. Pure. */
import type { Snapshot } from '../../src/hub.js';

/** Words for folders, best first. */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  fp16: ['FP16'],
  fp32: ['FP32'],
  int8: ['FP16-INT8', 'FP32-INT8'],
};

/** Folders that hold an IR, by precision: those of models of several stages lie deeper, and are parts of each. */
export function precisionsOf({ files }: Pick<Snapshot, 'files'>): Readonly<Record<string, string>> {
  const folders = new Set(files.flatMap(({ path }) => /^([^/]+)\/[^/]+\.xml$/.exec(path)?.slice(1) ?? []));
  return Object.fromEntries(
    Object.entries(FOLDERS).flatMap(([precision, names]) => {
      const folder = names.find((name) => folders.has(name));
      return folder === undefined ? [] : [[precision, folder]];
    }),
  );
}
