/** Keys as Ollama makes them on its first start: ed25519, in OpenSSH's format, without a passphrase. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes one below a home directory; returns its public half, base64, as accounts register it. */
export async function writeOllamaKey(home: string): Promise<string> {
  const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const [seed, raw] = [Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')];
  const publicKey = Buffer.concat([counted('ssh-ed25519'), counted(raw)]);
  const unpadded = [number(7), number(7), publicKey, counted(Buffer.concat([seed, raw])), counted('')];
  const length = Buffer.concat(unpadded).length;
  // Up to the block of a cipher, also without one.
  const padding = Buffer.from(Array.from({ length: (8 - (length % 8)) % 8 }, (_, index) => index + 1));
  const bytes = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    counted('none'),
    counted('none'),
    counted(''),
    number(1),
    counted(publicKey),
    counted(Buffer.concat([...unpadded, padding])),
  ]);
  const lines = bytes.toString('base64').replace(/.{70}/g, '$&\n');
  const directory = join(home, '.ollama');
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, 'id_ed25519'),
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`,
    { mode: 0o600 },
  );
  return publicKey.toString('base64');
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function counted(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([number(bytes.length), bytes]);
}
