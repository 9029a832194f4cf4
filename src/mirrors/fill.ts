/** Filling a registry that is a mirror: a model is written where it is looked for, with the listing of its hub. */
import { format, hubContext, hubNamed, parse, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { FileToPush, HeldFile, HeldModel, Hub, ModelToPush } from '../hub.js';
import { knownListing } from '../listing.js';
import { anySnapshot } from '../lower.js';
import { describe, modelToPush, pushStored, type PushOptions } from '../push.js';
import type { Reference } from '../reference.js';
import type { PushedModel } from '../results.js';
import type { StoredModel } from '../store/models.js';
import type { StoredSnapshot } from '../store/snapshots.js';
import { listingText, originText, registriesOf } from './held.js';
import { keyOf, type Source } from './sources.js';

type Registry = Extract<Source, { kind: 'registry' }>;

/** How `list` calls files that options chose, and one of several conversions. */
const CHOICE = /^[0-9a-f]{8}$/;
const NAME = 'name where to write it: `oci:host/repository:tag`';

/**
 * What is there of the same revision stays: another choice of its files adds to it.
 * @param prefix undefined for the one that is configured
 * @throws ModeldlError USAGE for what no mirror is asked for, and as pulling and the registry's hub do
 */
export async function fill(
  context: Context,
  text: string,
  prefix: Registry | undefined,
  options: PushOptions,
): Promise<PushedModel> {
  const reference = parse(context, text);
  const hub = hubNamed(context, reference.hub);
  refuseParts(hub, reference, text);
  const registry = prefix ?? configuredRegistry(context, hub, text);
  const { holding } = registry.hub;
  if (holding === undefined) throw new Error(`Expected ${registry.address} to hold models`);
  const model = await modelToPush(context, text);
  if (model.record.conversion !== undefined) throw isConversion(text);
  const { id, revision } = model.record;
  const place = holding.place(registry.prefix, { hub: hub.name, id, revision });
  const origin = originText(context, hub, { id, revision });
  const there = await holding.find(place, await hubContext(context, registry.hub));
  if (there !== undefined && there.origin !== origin) throw occupied(context, place, origin, there);
  const described = await describeWhole(context, hub, model, origin, there);
  return pushStored(context, model, described, place, options);
}

async function describeWhole(
  context: Context,
  hub: Hub,
  model: StoredModel,
  origin: string,
  there: HeldModel | undefined,
): Promise<ModelToPush> {
  const described = describe(context, model);
  const { id, revision } = described;
  const own = new Set(described.files.map(({ path }) => path));
  const snapshot = await anySnapshot(context, hub.name, id, revision);
  const held = (there?.files ?? [])
    .filter((file) => !own.has(file.path) && isOf(snapshot, file))
    .map(({ path, bytes, sha256, upstream }): FileToPush => ({
      path,
      bytes,
      sha256,
      ...(upstream === undefined ? {} : { upstream }),
    }));
  const listing = snapshot === undefined ? undefined : listingText(context, hub, snapshot);
  return { ...described, origin, held, ...(listing === undefined ? {} : { listing }) };
}

/** What the hub's own listing says of a file decides whether it stays: anybody who could write may have put it there. */
function isOf(snapshot: StoredSnapshot | undefined, { path, sha256, upstream }: HeldFile): boolean {
  const listing = snapshot === undefined ? undefined : knownListing(snapshot);
  if (listing === undefined) return true;
  const entry = listing.find((one) => one.path === path);
  const promised = entry?.archive === undefined ? entry?.source.digest : undefined;
  if (promised === undefined) return entry !== undefined;
  return [{ algorithm: 'sha256', hex: sha256 }, upstream].some(
    (digest) => digest?.algorithm === promised.algorithm && digest.hex === promised.hex,
  );
}

/** Mirrors are asked for what a hub has under a revision: neither for a part under other paths, nor for a conversion. */
function refuseParts(hub: Hub, reference: Reference, text: string): void {
  if (hub.syntax.paths === true) throw notAsked(text, 'It comes from no hub', NAME);
  if (hub.holding !== undefined) throw notAsked(text, 'It is in a registry already', NAME);
  if (reference.conversion !== undefined && !CHOICE.test(reference.conversion)) throw isConversion(text);
  if (reference.subpath !== undefined) {
    const hint = 'leave out what follows `//`, or name `oci:host/repository:tag`';
    throw notAsked(text, 'It is a part of a model', hint);
  }
}

function isConversion(text: string): ModeldlError {
  return notAsked(text, 'It is a conversion of a model', NAME);
}

function notAsked(text: string, why: string, hint: string): ModeldlError {
  return new ModeldlError('USAGE', `${why}, so a mirror is not asked for it: ${text}`, {
    hint,
    details: { reference: text },
  });
}

function configuredRegistry(context: Context, hub: Hub, text: string): Registry {
  const [only, ...others] = registriesOf(context, hub);
  if (only === undefined) {
    throw new ModeldlError(
      'USAGE',
      `No registry is a mirror of ${hub.title}, so where to write ${text} is open`,
      {
        hint: `name it, \`oci:host/repository:tag\` or \`oci:host/prefix/\`, or list one in \`${keyOf(hub)}\``,
      },
    );
  }
  if (others.length === 0) return only;
  const choices = [only, ...others].map(({ address }) => `\`modeldl push ${text} ${address}/\``);
  throw new ModeldlError('USAGE', `Several registries are mirrors of ${hub.title}`, {
    hint: `name one: ${choices.join(', ')}`,
  });
}

function occupied(
  context: Context,
  place: Reference,
  origin: string,
  { origin: other }: HeldModel,
): ModeldlError {
  return new ModeldlError(
    'USAGE',
    `In the place of ${origin} lies ${other ?? 'something that modeldl did not write'}: ${format(context, place)}`,
    { hint: 'remove that from the registry, or use another prefix' },
  );
}
