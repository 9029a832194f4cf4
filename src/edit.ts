/** Replacing text in files of a model, as their hub's own tool does: bounded in size and time, whatever the pattern is. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Script } from 'node:vm';
import * as v from 'valibot';
import type { Context } from './context.js';
import { ModeldlError, systemErrorCode } from './errors.js';
import type { StoredFile } from './fetch.js';
import type { Edit } from './hub.js';
import type { ListingEntry } from './listing.js';
import type { Selection } from './select.js';
import { blobPath, writeBlob } from './store/blobs.js';

/** What is edited is source code: files of some KiB. Also bounds what comes out. */
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_MATCHES = 10_000;
/** How long one pattern may look, milliseconds: some thousand times what real ones take, and too short to lose a claim. */
const MAX_MS = 2_000;

/** Runs apart from this program's own objects, since only so can a pattern that does not end be stopped. */
const FIND = new Script(`
  const found = [];
  for (const { indices } of text.matchAll(new RegExp(pattern, 'dgu'))) {
    found.push(Array.from(indices, (range) => range ?? null));
    if (found.length > most) break;
  }
  JSON.stringify(found);
`);
const matchesSchema = v.array(v.array(v.nullable(v.tuple([v.number(), v.number()]))));

/**
 * Edits the stored files that were chosen; what is changed becomes a blob of its own.
 * @throws ModeldlError INTEGRITY for a file that is not what its edits expect, UNSUPPORTED for what is too much
 */
export async function editFiles(
  context: Context,
  edits: readonly Edit[],
  selection: Selection<ListingEntry>,
  files: readonly StoredFile[],
): Promise<StoredFile[]> {
  const stored = new Map(files.map((file) => [file.path, file]));
  const chosen = new Map(selection.chosen.map(({ path, file }) => [file.path, path]));
  for (const path of new Set(edits.map((edit) => edit.path))) {
    const file = stored.get(chosen.get(path) ?? '');
    if (file !== undefined) {
      const changes = edits.filter((edit) => edit.path === path);
      stored.set(file.path, await editFile(context, file, changes));
    } else if (selection.complete) {
      throw new ModeldlError('INTEGRITY', `The model has no ${path}, which its description edits`, {
        hint: 'choose another revision of the model',
        details: { file: path },
      });
    }
  }
  return [...stored.values()];
}

async function editFile(context: Context, file: StoredFile, edits: readonly Edit[]): Promise<StoredFile> {
  if (file.bytes > MAX_BYTES) throw tooMuch(file.path, `it has more than ${MAX_BYTES} bytes`);
  let text = decode(await readFile(blobPath(context.store, file.sha256)), file.path);
  for (const edit of edits) text = replaceText(text, edit);
  const bytes = Buffer.from(text, 'utf8');
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await (await context.session()).want([sha256]);
  await writeBlob(context.store, sha256, bytes);
  // What upstream promised is true of the bytes before: nothing may take these for those.
  return { path: file.path, bytes: bytes.length, sha256 };
}

/** As Python reads text: all line ends become one, and patterns are written for that. */
function decode(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r\n?/g, '\n');
  } catch (cause) {
    throw new ModeldlError('INTEGRITY', `${path} is no text in UTF-8, and its description edits it`, {
      hint: 'choose another revision of the model, or leave the file out with `--exclude`',
      cause,
      details: { file: path },
    });
  }
}

/**
 * The text with what matches replaced.
 * @param limitMs how long the pattern may look, milliseconds
 * @throws ModeldlError INTEGRITY when too little matches, UNSUPPORTED for a pattern without end
 */
export function replaceText(text: string, edit: Edit, limitMs = MAX_MS): string {
  const { path, pattern, replacement, count = 0 } = edit;
  const all = find(text, edit, limitMs);
  if (all.length > MAX_MATCHES) throw tooMuch(path, `\`${pattern}\` matches more than ${MAX_MATCHES} times`);
  if (all.length === 0 || all.length < count) {
    const often = count === 0 ? 'nothing' : `${all.length} of ${count} times`;
    throw new ModeldlError('INTEGRITY', `A pattern of the model's description matches ${often} in ${path}`, {
      hint: 'choose another revision of the model, or leave the file out with `--exclude`',
      details: { file: path, pattern },
    });
  }
  const pieces: string[] = [];
  let length = 0;
  let at = 0;
  const add = (piece: string): void => {
    length += piece.length;
    if (length > MAX_BYTES)
      throw tooMuch(path, `\`${pattern}\` makes it longer than ${MAX_BYTES} characters`);
    pieces.push(piece);
  };
  for (const groups of count === 0 ? all : all.slice(0, count)) {
    const [start = 0, end = 0] = groups[0] ?? [];
    add(text.slice(at, start));
    for (const part of replacement) {
      if (typeof part === 'string') add(part);
      else {
        const group = groups[part];
        if (group === undefined) throw tooMuch(path, `\`${pattern}\` has no group ${part}`);
        if (group !== null) add(text.slice(...group));
      }
    }
    at = end;
  }
  add(text.slice(at));
  return pieces.join('');
}

function find(text: string, { path, pattern }: Edit, limitMs: number): v.InferOutput<typeof matchesSchema> {
  let found: unknown;
  try {
    found = FIND.runInNewContext({ text, pattern, most: MAX_MATCHES }, { timeout: limitMs });
  } catch (cause) {
    const endless = systemErrorCode(cause) === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
    const why = endless ? `takes longer than ${limitMs} ms` : 'fails';
    throw tooMuch(path, `looking for \`${pattern}\` ${why}`, cause);
  }
  return v.parse(matchesSchema, JSON.parse(String(found)));
}

function tooMuch(path: string, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('UNSUPPORTED', `Cannot edit ${path} as its description says: ${why}`, {
    hint: 'choose another revision of the model, or leave the file out with `--exclude`',
    cause,
    details: { file: path },
  });
}
