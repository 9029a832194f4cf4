/** From a name to the files that its description lists at a commit. */
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, RemoteFile, Snapshot, SnapshotMetadata } from '../../src/hub.js';
import { formatStandard, type Reference } from '../../src/reference.js';
import { covers, refuseAbsentPart } from '../part.js';
import { descriptionAddress, endpointOf, fetchDescription, type DescriptionFile } from './descriptions.js';
import { commitOf, isComposite, isNewest, knownStages, pageOf, placesOf, unknownName } from './known.js';
import {
  DescriptionError,
  readComposite,
  readModel,
  type Description,
  type ModelDescription,
} from './model-yml.js';
import { isLocal } from './model-proc.js';
import { RELEASE } from './names.js';
import { severalRecipes } from './recipe.js';
import { findRule, makeModelProc } from './samples.js';

interface Asked {
  readonly id: string;
  readonly commit: string;
  readonly context: HubContext;
}

interface Found extends Pick<ModelDescription, 'files' | 'edits' | 'recipe'> {
  readonly place: string;
  readonly description: Description;
}

/**
 * One request for each description, which is one for most models, and one for each sample of a `model_proc`; none where
 * the listing is stored.
 * @throws ModeldlError as `Hub.resolve`
 */
export async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  const { id, revision } = reference;
  const commit = commitOf(revision, id);
  const stored = await context.known?.(id, commit);
  const known = stored !== undefined && isComplete(stored) ? stored : undefined;
  const { files, edits, metadata } = known ?? (await described({ id, commit, context }));
  return {
    hub: 'omz',
    id,
    revision: commit,
    files: await withModelProc(reference, files, context),
    ...(edits === undefined ? {} : { edits }),
    metadata,
  };
}

/** Listings that were stored before there were recipes have none: what is no IR is described anew. */
function isComplete({ metadata: { library, recipe } }: Snapshot): boolean {
  return library === 'openvino' || recipe !== undefined;
}

async function described(asked: Asked): Promise<Pick<Snapshot, 'files' | 'edits' | 'metadata'>> {
  const { place, description, files, edits, recipe } = await find(asked);
  return {
    files,
    ...(edits.length === 0 ? {} : { edits }),
    metadata: {
      ...metadataOf(description, pageOf(place, asked.commit)),
      ...(recipe === undefined ? {} : { recipe }),
    },
  };
}

/** With the file that a rule makes, unless an earlier listing has it; one that is made here only is made each time. */
async function withModelProc(
  reference: Reference,
  files: readonly RemoteFile[],
  context: HubContext,
): Promise<readonly RemoteFile[]> {
  const { id, subpath } = reference;
  const rule = await findRule(id, context);
  refuseAbsentPart(reference, rule === undefined ? files : [...files, { path: rule.path }]);
  if (rule === undefined) return files;
  const there = files.find(({ path }) => path === rule.path);
  if (there !== undefined && !there.url.startsWith('data:')) {
    throw new ModeldlError('CONFIG', `A rule of \`hubs.omz.rules\` would replace ${rule.path} of ${id}`, {
      hint: 'give it another `model_proc_dst`',
    });
  }
  if (there !== undefined && !isLocal(rule)) return files;
  // It belongs to the listing whatever is asked, and a part that it is not in lacks nothing.
  const isAsked = subpath === undefined || covers(subpath, rule.path);
  const made = await makeModelProc(id, rule, isAsked ? context : { ...context, warn: () => undefined });
  return made === undefined ? files : [...files.filter((file) => file !== there), made];
}

/** At the newest release it is known where a model is, and of what kind; at others it may have been elsewhere. */
async function find(asked: Asked): Promise<Found> {
  const { id, commit } = asked;
  for (const place of placesOf(id, commit)) {
    const kinds = isComposite(place) ? [composite, single] : [single, composite];
    for (const kind of isNewest(commit) ? kinds.slice(0, 1) : kinds) {
      const found = await kind(asked, place);
      if (found !== undefined) return found;
    }
  }
  const [place] = placesOf(id, commit);
  throw isNewest(commit) && place !== undefined ? lacking(asked, place) : unknownName(id, commit);
}

/** That release has it, so that what was asked is no copy of the repository, or not a whole one. */
function lacking({ id, commit, context }: Asked, place: string): ModeldlError {
  const endpoint = endpointOf(context);
  const file = isComposite(place) ? 'composite-model.yml' : 'model.yml';
  const url = descriptionAddress(endpoint, commit, place, file);
  return new ModeldlError('NOT_FOUND', `${new URL(url).host} has no description of ${id}: ${url}`, {
    hint: `check \`hubs.omz.endpoint\` (${endpoint}): below it lie the folders of Open Model Zoo by commit`,
    details: { url },
  });
}

async function single(asked: Asked, place: string): Promise<Found | undefined> {
  const model = await read(asked, place, 'model.yml', (yaml) => readModel(yaml, asked.id));
  return model === undefined ? undefined : { place, description: model, ...model };
}

/** A model of several stages: each is a folder of its tree. */
async function composite(asked: Asked, place: string): Promise<Found | undefined> {
  const description = await read(asked, place, 'composite-model.yml', readComposite);
  if (description === undefined) return undefined;
  // Before 2022.1 the order was not told.
  const { stages = knownStages(place) } = description;
  const parts: ModelDescription[] = [];
  for (const stage of stages) {
    const part = await read(asked, `${place}/${stage}`, 'model.yml', (yaml) => readModel(yaml, stage, stage));
    if (part === undefined) throw unreadable(asked, place, `there is none of its stage ${stage}`);
    parts.push(part);
  }
  if (parts.length === 0) throw unreadable(asked, place, 'it names no stages');
  return {
    place,
    description,
    files: parts.flatMap(({ files }) => files),
    edits: parts.flatMap(({ edits }) => edits),
    recipe: severalRecipes(stages),
  };
}

async function read<Read>(
  asked: Asked,
  place: string,
  file: DescriptionFile,
  readFrom: (yaml: string) => Read,
): Promise<Read | undefined> {
  const { commit, context } = asked;
  const yaml = await fetchDescription(
    descriptionAddress(endpointOf(context), commit, place, file),
    endpointOf(context),
    context,
  );
  if (yaml === undefined) return undefined;
  try {
    return readFrom(yaml);
  } catch (error) {
    if (!(error instanceof DescriptionError)) throw error;
    throw unreadable(asked, place, error.message);
  }
}

function unreadable({ id, commit }: Asked, place: string, why: string): ModeldlError {
  const url = pageOf(place, commit);
  const newest = `\`${formatStandard('omz', { id, revision: RELEASE })}\``;
  return new ModeldlError('UNSUPPORTED', `Cannot read the description of ${id}: ${why}: ${url}`, {
    hint: isNewest(commit)
      ? 'check `hubs.omz.endpoint`; if that is right, report it as an error of modeldl'
      : `take the newest release: ${newest}`,
    details: { url },
  });
}

function metadataOf({ task, framework, license }: Description, page: string): SnapshotMetadata {
  const library = framework === 'dldt' ? 'openvino' : framework;
  return {
    ...(license === undefined ? {} : { license: licenseOf(license) }),
    ...(task === undefined ? {} : { task }),
    ...(library === undefined ? {} : { library }),
    page,
  };
}

/** Open Model Zoo's own license is known by its name; others are told by their address. */
function licenseOf(address: string): string {
  return /\/(?:openvinotoolkit|opencv)\/open_model_zoo\/(?:master|develop)\/LICENSE$/.test(address)
    ? 'apache-2.0'
    : address;
}
