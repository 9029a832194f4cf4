/** Getting the texts that a rule for `model_proc` names, and the file that is made of them. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { ModeldlError, throwIfAborted } from '../../src/errors.js';
import type { HubContext, RemoteFile } from '../../src/hub.js';
import { MAX_BYTES, readBytes, samplesOf } from './descriptions.js';
import {
  compose,
  readRules,
  RuleError,
  ruleFor,
  SAMPLES_COMMIT,
  type Rule,
  type Source,
} from './model-proc.js';

/** How long samples are waited for, milliseconds: the model is had without them too. */
const SAMPLES_WAIT_MS = 15_000;

/** What keeps a text from being had; the message says which and why. */
class SampleError extends Error {
  override readonly name = 'SampleError';
}

/** The rule for a model, by the user's file of rules and the built-in ones. @throws ModeldlError CONFIG */
export async function findRule(id: string, context: HubContext): Promise<Rule | undefined> {
  const configured = context.settings['rules'];
  if (typeof configured !== 'string') return ruleFor(id, {}, resolve);
  const path = configured.startsWith('~/') ? join(context.home, configured.slice(2)) : configured;
  const place = `\`hubs.omz.rules\` (${configured})`;
  if (!isAbsolute(path)) {
    throw new ModeldlError('CONFIG', `Expected an absolute path in ${place}`, {
      hint: 'write the whole path, or one that begins with `~/`',
    });
  }
  try {
    return ruleFor(id, readRules((await readLocal(path)).toString('utf8')), (file) =>
      resolve(dirname(path), file),
    );
  } catch (error) {
    if (!(error instanceof RuleError || error instanceof SampleError)) throw error;
    throw new ModeldlError('CONFIG', `Cannot read the rules of ${place}: ${error.message}`, {
      hint: 'a rule has `model_proc_src`, `model_proc_dst`, and if labels are put in, `labels_src` and `inject_labels: true`, below `rules:` and the name of its model',
      cause: error,
      details: { file: path },
    });
  }
}

/**
 * The file that the rule makes, as it is in the listing. Undefined, with a warning, when its texts cannot be had or used.
 * @throws ModeldlError CONFIG for texts of this machine, INTERRUPTED
 */
export async function makeModelProc(
  id: string,
  rule: Rule,
  context: HubContext,
): Promise<RemoteFile | undefined> {
  try {
    const sample = await textOf(rule.sample, context);
    const labels = rule.labels === undefined ? undefined : await textOf(rule.labels, context);
    const bytes = composed(rule, sample, labels);
    return {
      path: rule.path,
      size: bytes.length,
      digest: { algorithm: 'sha256', hex: sha256(bytes) },
      url: `data:application/octet-stream;base64,${bytes.toString('base64')}`,
    };
  } catch (error) {
    throwIfAborted(context.signal);
    if (!(error instanceof SampleError)) throw error;
    context.warn(`${id} is without its ${rule.path}, for DL Streamer: ${error.message}`);
    return undefined;
  }
}

function composed({ sample, labels }: Rule, sampleText: Buffer, labelsText: Buffer | undefined): Buffer {
  try {
    return compose(sampleText, labelsText);
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    const from = [sample, ...(labels === undefined ? [] : [labels])];
    const message = `${error.message} (${from.map(nameOf).join(', ')})`;
    if (from.some((source) => !('file' in source))) throw new SampleError(message, { cause: error });
    throw broken(message, error);
  }
}

function broken(message: string, cause: Error): ModeldlError {
  return new ModeldlError('CONFIG', `A rule of \`hubs.omz.rules\` cannot be followed: ${message}`, {
    hint: 'correct the file or the rule; a rule `null` makes no model_proc',
    cause,
  });
}

function nameOf(source: Source): string {
  return 'sample' in source ? source.sample : 'url' in source ? source.url : source.file;
}

/** @throws SampleError, and ModeldlError CONFIG for a file of this machine */
async function textOf(source: Source, context: HubContext): Promise<Buffer> {
  if ('file' in source) {
    try {
      return await readLocal(source.file);
    } catch (error) {
      if (error instanceof SampleError) throw broken(error.message, error);
      throw error;
    }
  }
  const samples = samplesOf(context);
  if ('url' in source) return fetchText(source.url, context);
  if (samples === undefined)
    throw new SampleError('`hubs.omz.endpoint` is set, and `hubs.omz.samples` tells no place of samples');
  const bytes = await fetchText(`${samples}/${SAMPLES_COMMIT}/${source.sample}`, context);
  if (sha256(bytes) === source.sha256) return bytes;
  throw new SampleError(`other bytes than expected at ${samples}/${SAMPLES_COMMIT}/${source.sample}`);
}

async function fetchText(url: string, context: HubContext): Promise<Buffer> {
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(SAMPLES_WAIT_MS)]);
  try {
    const response = await context.fetch(url, { signal });
    const bytes = response.ok ? await readBytes(response) : undefined;
    if (bytes !== undefined) return bytes;
    await response.body?.cancel();
    const why = response.ok ? `answered more than ${MAX_BYTES} bytes` : `answered ${response.status}`;
    throw new SampleError(`${new URL(url).host} ${why}: ${url}`);
  } catch (error) {
    throwIfAborted(context.signal);
    if (error instanceof SampleError) throw error;
    if (signal.aborted) throw new SampleError(`no answer in ${SAMPLES_WAIT_MS / 1000} s: ${url}`);
    if (error instanceof ModeldlError) throw new SampleError(error.message, { cause: error });
    throw error;
  }
}

/** @throws SampleError */
async function readLocal(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > MAX_BYTES) throw new SampleError(`${path} has more than ${MAX_BYTES} bytes`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof SampleError || !(error instanceof Error)) throw error;
    throw new SampleError(error.message, { cause: error });
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
