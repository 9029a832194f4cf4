import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/**
 * A certificate that vouches for itself, made with the openssl program.
 *
 * @param days that it is good for from now on; negative for one that has expired
 */
export async function selfSigned(subject: string, days = 2): Promise<Certificate> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-tls-'));
  const [key, request] = [join(directory, 'key.pem'), join(directory, 'request.pem')];
  const cert = join(directory, 'cert.pem');
  const run = promisify(execFile);
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
  // Authorities of one name are taken for each other.
  const named = ['-subj', `/CN=modeldl test ${randomUUID()}`, '-addext', `subjectAltName=${subject}`];
  const signed = ['-signkey', key, '-days', String(days), '-copy_extensions', 'copyall'];
  try {
    await run('openssl', ['req', '-new', ...kind, ...named, '-out', request]);
    // `req -x509` would make none that has expired.
    await run('openssl', ['x509', '-req', '-in', request, ...signed, '-out', cert]);
    return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') };
  } finally {
    await rm(directory, { recursive: true });
  }
}
