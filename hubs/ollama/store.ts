/** The store of an Ollama on this machine: `manifests/<host>/<namespace>/<model>/<tag>` and `blobs/sha256-<hex>`. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { platform } from 'node:process';
import { ModeldlError, systemErrorCode } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { DEFAULT_TAG, LIBRARY, PUBLIC_HOST, type Name } from './reference.js';

/** Where the service of Linux packages keeps its models. */
const SERVICE = '/usr/share/ollama/.ollama/models';

export interface LocalStores {
  /** Absolute, the likeliest first. */
  readonly directories: readonly string[];
  /** Named by `OLLAMA_MODELS`, so that there is no other. */
  readonly isNamed: boolean;
}

/** Where a store may be: what `OLLAMA_MODELS` names, or the user's and the service's. @throws ModeldlError CONFIG */
export function localStores({ environment, home }: HubSettingsContext): LocalStores {
  const named = environment['OLLAMA_MODELS']?.trim() ?? '';
  if (named !== '') {
    const directory = named.startsWith('~/') ? join(home, named.slice(2)) : named;
    if (isAbsolute(directory)) return { directories: [directory], isNamed: true };
    throw new ModeldlError('CONFIG', `\`OLLAMA_MODELS\` is no absolute path: ${named}`, {
      hint: 'a relative one means another place for each program; name the whole path',
    });
  }
  const own = join(home, '.ollama', 'models');
  return { directories: platform === 'linux' ? [own, SERVICE] : [own], isNamed: false };
}

/** `blobs/sha256-…`, relative to the store. */
export function blobPath(hex: string): string {
  return `blobs/sha256-${hex}`;
}

/** What Ollama prints and takes: without the parts that it adds itself. */
export function shownName({ host, namespace, model, tag = DEFAULT_TAG }: Name): string {
  const path = host === undefined && namespace === LIBRARY ? model : `${namespace}/${model}`;
  return `${host === undefined ? '' : `${host}/`}${path}:${tag}`;
}

/**
 * The path of a name's manifest, relative to the store. Names are the same whatever their case, so parts that are there
 * are spelt as they are (getExistingName in server/routes.go).
 */
export async function manifestPath(directory: string, name: Name): Promise<string> {
  const { host = PUBLIC_HOST, namespace, model, tag = DEFAULT_TAG } = name;
  let path = 'manifests';
  for (const part of [host, namespace, model, tag]) {
    const there = await readdir(join(directory, path)).catch((): string[] => []);
    const same = there.includes(part)
      ? part
      : there.find((other) => other.toLowerCase() === part.toLowerCase());
    path = `${path}/${same ?? part}`;
  }
  return path;
}

/** Undefined where there is none; what may not be read throws as the file system does. */
export async function readManifestFile(directory: string, name: Name): Promise<Buffer | undefined> {
  try {
    return await readFile(join(directory, await manifestPath(directory, name)));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? ''),
  );
}
