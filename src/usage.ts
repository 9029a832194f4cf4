/** What models take on disk: of files that several have, the bytes are there once, and go only with the last of them. */
import type { Context } from './context.js';
import type { ModelUsage, SpaceUsage } from './results.js';
import { namesAmong } from './stored.js';
import { readCatalogue, type ListedEntry } from './store/catalogue.js';
import { createTurns } from './store/turns.js';

/** Of the user's own cache, largest first: those of others are not theirs to remove. */
export async function usage(context: Context): Promise<SpaceUsage> {
  const { models, physicalBytes } = await readCatalogue(context.store);
  const nameOf = namesAmong(models);
  const holders = new Map<string, number>();
  for (const model of models) {
    for (const blob of blobsOf(model)) holders.set(blob, (holders.get(blob) ?? 0) + 1);
  }
  const shared = new Map<string, number>();
  const used: ModelUsage[] = [];
  const turn = createTurns();
  for (const model of models) {
    await turn();
    let ownBytes = model.copiedBytes;
    let sharedBytes = 0;
    for (const blob of blobsOf(model)) {
      const bytes = bytesOf(blob);
      if ((holders.get(blob) ?? 0) < 2) ownBytes += bytes;
      else {
        sharedBytes += bytes;
        shared.set(blob, bytes);
      }
    }
    used.push({ reference: nameOf(model), ownBytes, sharedBytes });
  }
  used.sort((a, b) => b.ownBytes + b.sharedBytes - a.ownBytes - a.sharedBytes);
  return {
    models: used,
    physicalBytes,
    sharedBytes: [...shared.values()].reduce((sum, bytes) => sum + bytes, 0),
  };
}

/** Each once, as `<hex>:<bytes>`: a model may have the same file twice. */
function blobsOf({ blobs }: ListedEntry): ReadonlySet<string> {
  return new Set(blobs.split(' ').filter((blob) => blob !== ''));
}

function bytesOf(blob: string): number {
  return Number(blob.slice(blob.indexOf(':') + 1));
}
