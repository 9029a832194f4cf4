/** Reading `model.yml` and `composite-model.yml`, as Open Model Zoo's tools do (`omz_tools/_configuration.py`). Pure. */
import { CORE_SCHEMA, load } from 'js-yaml';
import * as v from 'valibot';
import type { ConversionRecipe, Edit, RemoteFile, Unpack } from '../../src/hub.js';
import { recipeOf } from './recipe.js';
import { translatePattern, translateReplacement, UntranslatableError } from './python-regex.js';

/** More than that is no description. */
const MAX_FILES = 10_000;

const text = v.pipe(v.string(), v.nonEmpty());
/** Relative, without `..`; the store refuses what else is wrong with a name. */
const path = v.pipe(
  text,
  v.check(
    (name) =>
      !/^[/\\]|\\/.test(name) &&
      name.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..'),
    'Expected a relative path',
  ),
);
const address = v.pipe(
  text,
  v.check(
    (url) => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol),
    'Expected an address of http or https',
  ),
);
const sourceSchema = v.union([
  v.pipe(
    address,
    v.transform((url) => url),
  ),
  v.pipe(
    v.object({ $type: v.literal('http'), url: address }),
    v.transform(({ url }) => url),
  ),
  v.pipe(
    v.object({ $type: v.literal('google_drive'), id: v.pipe(v.string(), v.regex(/^[\w-]+$/)) }),
    v.transform(({ id }) => driveAddress(id)),
  ),
]);
const hex = (digits: number): v.GenericSchema<string> =>
  v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-fA-F]{${digits}}$`)));
const fileSchema = v.pipe(
  v.object({
    name: path,
    size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    /** SHA-384, from 2022.1 on. */
    checksum: v.optional(hex(96)),
    sha256: v.optional(hex(64)),
    source: sourceSchema,
  }),
  v.check(({ checksum, sha256 }) => (checksum ?? sha256) !== undefined, 'Expected a checksum'),
);
const unpackSchema = v.object({
  $type: v.literal('unpack_archive'),
  file: path,
  /** Python's words for archives. */
  format: v.picklist(['zip', 'tar', 'gztar', 'xztar']),
});
const replaceSchema = v.object({
  $type: v.literal('regex_replace'),
  file: path,
  pattern: v.string(),
  replacement: v.string(),
  count: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 0),
});
const shared = { task_type: v.optional(text), framework: v.optional(text), license: v.optional(text) };
const modelSchema = v.object({
  ...shared,
  files: v.pipe(v.array(fileSchema), v.minLength(1), v.maxLength(MAX_FILES)),
  postprocessing: v.optional(v.array(v.variant('$type', [unpackSchema, replaceSchema])), []),
});
const compositeSchema = v.object({
  ...shared,
  stages_order: v.optional(v.array(v.pipe(v.string(), v.regex(/^[0-9A-Za-z_][0-9A-Za-z._-]*$/)))),
});

/** A description that cannot be read; the message says where and why. */
export class DescriptionError extends Error {
  override readonly name = 'DescriptionError';
}

export interface Description {
  readonly task?: string;
  /** `dldt` for OpenVINO IR, `onnx`, `pytorch`, `tf`. */
  readonly framework?: string;
  /** Address of its text. */
  readonly license?: string;
}

export interface ModelDescription extends Description {
  readonly recipe?: ConversionRecipe;
  readonly files: readonly RemoteFile[];
  readonly edits: readonly Edit[];
}

export interface CompositeDescription extends Description {
  /** Names of its parts, in the order in which they run. */
  readonly stages?: readonly string[];
}

/**
 * @param id of the model
 * @param into folder of the tree that the files go into
 * @throws DescriptionError
 */
export function readModel(yaml: string, id: string, into?: string): ModelDescription {
  const document = parsed(yaml);
  const { files, postprocessing, ...described } = parse(modelSchema, document);
  const recipe = recipeOf(id, document);
  const inTree = (name: string): string => (into === undefined ? name : `${into}/${name}`);
  const byName = new Map(files.map((file) => [file.name, file]));
  if (byName.size < files.length) throw new DescriptionError('two files have one name');
  const unpacked = new Map<string, Unpack>();
  const edits: Edit[] = [];
  for (const step of postprocessing) {
    if (step.$type === 'unpack_archive') {
      if (!byName.has(step.file))
        throw new DescriptionError(`it unpacks ${step.file}, which it does not list`);
      unpacked.set(step.file, unpackOf(inTree(step.file), step.format));
    } else if (unpacked.has(step.file)) {
      throw new DescriptionError(`it edits ${step.file}, which it unpacks`);
    } else edits.push(editOf(step, inTree(step.file)));
  }
  return {
    ...describe(described),
    ...(recipe === undefined ? {} : { recipe }),
    files: files.map(({ name, size, checksum, sha256, source }) => {
      const unpack = unpacked.get(name);
      const [algorithm, hexDigits] =
        checksum === undefined ? (['sha256', sha256 ?? ''] as const) : (['sha384', checksum] as const);
      return {
        path: inTree(name),
        size,
        digest: { algorithm, hex: hexDigits.toLowerCase() },
        url: source,
        ...(unpack === undefined ? {} : { unpack }),
      };
    }),
    edits,
  };
}

/** @throws DescriptionError */
export function readComposite(yaml: string): CompositeDescription {
  const { stages_order: stages, ...described } = parse(compositeSchema, parsed(yaml));
  return { ...describe(described), ...(stages === undefined ? {} : { stages }) };
}

function describe({
  task_type: task,
  framework,
  license,
}: v.InferOutput<v.ObjectSchema<typeof shared, undefined>>): Description {
  return {
    ...(task === undefined ? {} : { task }),
    ...(framework === undefined ? {} : { framework }),
    ...(license === undefined ? {} : { license }),
  };
}

function parsed(yaml: string): unknown {
  try {
    return load(yaml, { schema: CORE_SCHEMA });
  } catch (cause) {
    throw new DescriptionError('it is no YAML', { cause });
  }
}

function parse<Schema extends v.GenericSchema>(schema: Schema, document: unknown): v.InferOutput<Schema> {
  const read = v.safeParse(schema, document);
  if (read.success) return read.output;
  const [issue] = read.issues;
  const place = v.getDotPath(issue);
  throw new DescriptionError(place === null ? issue.message : `${place}: ${issue.message}`);
}

/** Archives are unpacked beside themselves. */
function unpackOf(file: string, format: v.InferOutput<typeof unpackSchema>['format']): Unpack {
  const formats = { zip: 'zip', tar: 'tar', gztar: 'tar.gz', xztar: 'tar.xz' } as const;
  const slash = file.lastIndexOf('/');
  return { format: formats[format], ...(slash < 0 ? {} : { into: file.slice(0, slash) }) };
}

function editOf({ pattern, replacement, count }: v.InferOutput<typeof replaceSchema>, file: string): Edit {
  try {
    return {
      path: file,
      pattern: translatePattern(pattern),
      replacement: translateReplacement(replacement),
      ...(count === 0 ? {} : { count }),
    };
  } catch (error) {
    if (!(error instanceof UntranslatableError)) throw error;
    throw new DescriptionError(`the expression for ${file} is not understood: ${error.message}`);
  }
}

/**
 * Gives the bytes at once, where `uc?export=download` asks first whether a large file may be unchecked. The query is part
 * of the address, since it is the file's name and no secret. An answer in HTML fails at the file's size and digest.
 */
function driveAddress(id: string): string {
  return `https://drive.usercontent.google.com/download?id=${id}&export=download&confirm=t`;
}
