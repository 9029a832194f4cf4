/** Tokens: found in the environment, in what `login` saved, or in another tool's file; never in project files. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { geteuid } from 'node:process';
import * as v from 'valibot';
import { isReadOnly } from '../directories.js';
import { systemErrorCode } from '../errors.js';
import type { Credential, CredentialSpec, HubSettingsContext } from '../hub.js';
import { writePrivate } from './trust.js';

const credentialsSchema = v.record(v.string(), v.object({ origin: v.string(), token: v.string() }));

function credentialsFile(configDir: string): string {
  return join(configDir, 'credentials.json');
}

async function readSaved(configDir: string): Promise<v.InferOutput<typeof credentialsSchema>> {
  try {
    return v.parse(credentialsSchema, JSON.parse(await readFile(credentialsFile(configDir), 'utf8')));
  } catch {
    return {};
  }
}

export interface CredentialSearch {
  readonly hub: string;
  readonly spec: CredentialSpec;
  readonly settings: HubSettingsContext;
  readonly configDir: string;
  /**
   * False when the endpoint was set by a project file: then tokens of the environment and of other tools, which are
   * meant for the hub's own host, are not sent there.
   */
  readonly endpointIsUsers: boolean;
  warn(message: string): void;
}

/** The credential to use for a hub's endpoint, by precedence: environment, `modeldl login`, other tools' files. */
export async function findCredential(search: CredentialSearch): Promise<Credential | undefined> {
  const { hub, spec, settings, configDir } = search;
  if (search.endpointIsUsers) {
    for (const name of spec.environment) {
      const token = settings.environment[name]?.trim();
      if (token !== undefined && token !== '') return { token, source: `the environment variable ${name}` };
    }
  }
  const saved = (await readSaved(configDir))[hub];
  if (saved !== undefined && saved.origin === new URL(spec.endpoint(settings)).origin) {
    await warnIfReadable(search, credentialsFile(configDir));
    return { token: saved.token, source: '`modeldl login`' };
  }
  if (!search.endpointIsUsers) return undefined;
  for (const file of spec.files?.(settings) ?? []) {
    const token = await readFile(file, 'utf8').then(
      (text) => text.trim(),
      (error: unknown) => {
        if (systemErrorCode(error) === 'EACCES')
          search.warn(`The token in ${file} is not used: this user may not read it`);
        return '';
      },
    );
    if (token === '') continue;
    await warnIfReadable(search, file);
    return { token, source: `the file ${file}` };
  }
  return undefined;
}

/** Of a secret that a container is given, neither the owner nor the mode is for us to change. */
async function warnIfReadable(search: CredentialSearch, file: string): Promise<void> {
  const { mode, uid } = await stat(file);
  const user = geteuid?.();
  if (user !== undefined && uid !== user) return;
  // Of any other file system the user may change what is the user's own.
  if (await isReadOnly(file)) return;
  if ((mode & 0o077) !== 0) search.warn(`Others can read the token in ${file}: run \`chmod 600 ${file}\``);
}

/** @throws ModeldlError DISK */
export async function saveCredential(
  configDir: string,
  hub: string,
  origin: string,
  token: string,
): Promise<void> {
  await writePrivate(credentialsFile(configDir), {
    ...(await readSaved(configDir)),
    [hub]: { origin, token },
  });
}

/** False when there was none. @throws ModeldlError DISK */
export async function removeCredential(configDir: string, hub: string): Promise<boolean> {
  const saved = await readSaved(configDir);
  if (!(hub in saved)) return false;
  const { [hub]: removed, ...rest } = saved;
  await writePrivate(credentialsFile(configDir), rest);
  return true;
}
