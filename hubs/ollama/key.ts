/** The key that Ollama makes on its first start, `~/.ollama/id_ed25519`, which an account knows: reading it, and signing. */
import { createPrivateKey, sign, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModeldlError, systemErrorCode } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';

export interface SigningKey {
  /** Base64 of the public key, as in `id_ed25519.pub`. */
  readonly publicKey: string;
  readonly privateKey: KeyObject;
}

const TYPE = 'ssh-ed25519';
const MAGIC = 'openssh-key-v1\0';
/** What precedes the 32 bytes of a private key in PKCS #8 (RFC 8410), which is what Node.js reads. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

export function keyFile({ home }: Pick<HubSettingsContext, 'home'>): string {
  return join(home, '.ollama', 'id_ed25519');
}

/** Undefined where there is none. @throws ModeldlError CONFIG for one that cannot be used */
export async function readKey(context: Pick<HubSettingsContext, 'home'>): Promise<SigningKey | undefined> {
  const path = keyFile(context);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw unusable(path, 'it cannot be read', error);
  }
  try {
    return parseKey(text);
  } catch (error) {
    throw unusable(path, error instanceof RangeError ? 'it is damaged' : messageOf(error), error);
  }
}

/** The public part as Ollama's `.pub` file has it, which an account takes. @throws ModeldlError CONFIG */
export async function publicLineOf(context: Pick<HubSettingsContext, 'home'>): Promise<string | undefined> {
  const key = await readKey(context);
  return key === undefined ? undefined : `${TYPE} ${key.publicKey}`;
}

function unusable(path: string, why: string, cause: unknown): ModeldlError {
  return new ModeldlError('CONFIG', `Cannot use the key of Ollama in ${path}: ${why}`, {
    hint: 'Ollama makes a new one when it is started without; register that at https://ollama.com/settings/keys',
    cause,
    details: { file: path },
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * OpenSSH's format (PROTOCOL.key): magic, cipher, kdf and its options, number of keys, public key, private part. All
 * texts are preceded by their length.
 */
export function parseKey(text: string): SigningKey {
  const [, base64] =
    /-----BEGIN OPENSSH PRIVATE KEY-----([\sA-Za-z0-9+/=]+)-----END OPENSSH PRIVATE KEY-----/.exec(text) ??
    [];
  if (base64 === undefined) throw new Error('it is no private key of OpenSSH');
  const bytes = Buffer.from(base64, 'base64');
  if (!bytes.subarray(0, MAGIC.length).equals(Buffer.from(MAGIC)))
    throw new Error('it is of an unknown version');
  const outer = createReader(bytes.subarray(MAGIC.length));
  const cipher = outer.text();
  outer.take(); // kdf
  outer.take(); // its options
  if (cipher !== 'none') throw new Error('it is protected by a passphrase');
  if (outer.number() !== 1) throw new Error('it holds several keys');
  const publicKey = outer.take();
  const inner = createReader(outer.take());
  if (inner.number() !== inner.number()) throw new Error('it is damaged');
  const type = inner.text();
  if (type !== TYPE) throw new Error(`it is of type ${JSON.stringify(type.slice(0, 40))}, expected ${TYPE}`);
  inner.take(); // public key
  const secret = inner.take();
  // The seed, then the public key once more.
  if (secret.length !== 64) throw new Error('it is damaged');
  return {
    publicKey: publicKey.toString('base64'),
    privateKey: createPrivateKey({
      key: Buffer.concat([PKCS8, secret.subarray(0, 32)]),
      format: 'der',
      type: 'pkcs8',
    }),
  };
}

interface Reader {
  number(): number;
  take(): Buffer;
  text(): string;
}

/** @throws RangeError past the end */
function createReader(bytes: Buffer): Reader {
  let at = 0;
  const number = (): number => {
    const value = bytes.readUInt32BE(at);
    at += 4;
    return value;
  };
  const take = (): Buffer => {
    const length = number();
    if (at + length > bytes.length) throw new RangeError('past the end');
    at += length;
    return bytes.subarray(at - length, at);
  };
  return { number, take, text: () => take().toString('latin1') };
}

/** `<public key>:<signature>`, both base64, as Ollama signs (auth/auth.go). */
export function signed({ publicKey, privateKey }: SigningKey, text: string): string {
  return `${publicKey}:${sign(null, Buffer.from(text), privateKey).toString('base64')}`;
}
