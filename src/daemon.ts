/** Pulling by a hub's own program: it fetches into its store, from which the model is taken by its digests. */
import type { BlobSource } from './adopt.js';
import { format, hubContext, hubNamed, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { checkDigests } from './paths.js';
import { pullModel, pullResolved, type Pulled, type PullOptions } from './pull.js';
import type { Reference } from './reference.js';
import { asResolved, storedSnapshot } from './resolve.js';

/**
 * As `pullModel`, with the bytes brought by a program that runs on this machine.
 * @throws ModeldlError USAGE for a hub without one, and as {@link LocalProgram.pull} and pulling do
 */
export async function pullByDaemon(
  context: Context,
  reference: Reference,
  options: PullOptions,
): Promise<Pulled> {
  const hub = hubNamed(context, reference.hub);
  const text = format(context, reference);
  if (hub.program === undefined || reference.conversion !== undefined) {
    const having = context.hubs.flatMap(({ name, program }) =>
      program === undefined ? [] : [`\`${name}:\``],
    );
    throw new ModeldlError('USAGE', `No program but modeldl pulls ${text}`, {
      hint: `leave out \`--daemon\`, which is for ${having.join(', ')}`,
    });
  }
  if (options.force === true) {
    throw new ModeldlError('USAGE', '`--daemon` and `--force` exclude each other', {
      hint: 'leave out `--daemon` to fetch again what is stored',
    });
  }
  const settled = context.freshness === 'offline' || context.freshness === 'stored';
  const isStored = settled && (await storedSnapshot(context, reference)) !== undefined;
  if (isStored || context.freshness === 'offline') return pullModel(context, reference, options);
  context.emit({ type: 'resolve', reference: text });
  const pulled = await hub.program.pull(reference, {
    ...(await hubContext(context, hub)),
    emit: context.emit,
  });
  const { snapshot, title, directory, blobs } = pulled;
  checkDigests(snapshot.files);
  const store: BlobSource = { title, directory, find: (sha256) => Promise.resolve(blobs.get(sha256)) };
  const adopting = { ...context, elsewhere: [store, ...context.elsewhere] };
  return pullResolved(adopting, await asResolved(context, reference, snapshot), options);
}
