/** What package indexes have in common: small documents over HTTP, and the errors that their refusals stand for. */
import { ModeldlError } from '../src/errors.js';
import type { HubContext } from '../src/hub.js';
import { decodePart } from '../src/reference.js';

/** Bound on one document, bytes: the longest ones, of packages with thousands of versions, have tens of MiB. */
const MAX_DOCUMENT_BYTES = 128 * 1024 * 1024;

export interface Question {
  /** For messages: `the npm registry`. */
  readonly source: string;
  /** For messages: `npm package @scope/name`. */
  readonly what: string;
  /** How a user logs in, as a hint. */
  readonly login: string;
  /** Where credentials in the headers come from: `npm's configuration`. */
  readonly credentials: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Document {
  /** After redirects: what relative addresses start from. */
  readonly url: URL;
  readonly contentType: string;
  readonly bytes: Buffer;
  readonly text: string;
}

/**
 * Asks for a document.
 * @throws ModeldlError NOT_FOUND, AUTH, NETWORK
 */
export async function askIndex(url: URL, question: Question, context: HubContext): Promise<Document> {
  const response = await context.fetch(url, { headers: question.headers, signal: context.signal });
  if (!response.ok) {
    await response.body?.cancel();
    throw refused(response.status, url, question);
  }
  const bytes = await readBytes(response, url, question);
  return {
    url: new URL(response.url === '' ? url : response.url),
    contentType: (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '',
    bytes,
    text: bytes.toString('utf8'),
  };
}

function refused(status: number, url: URL, question: Question): ModeldlError {
  const { source, what, login, credentials, headers } = question;
  const address = `${url.origin}${url.pathname}`;
  const isSent = headers['authorization'] !== undefined;
  const details = { url: address, status, ...(isSent ? { tokenSource: credentials } : {}) };
  switch (status) {
    case 401:
      return isSent
        ? new ModeldlError('AUTH', `${source} at ${url.host} does not accept the login from ${credentials}`, {
            hint: `it is wrong, or expired: ${login}`,
            details,
          })
        : new ModeldlError('AUTH', `${source} at ${url.host} wants a login for the ${what}`, {
            hint: login,
            details,
          });
    case 403:
      return new ModeldlError('AUTH', `${source} at ${url.host} refuses access to the ${what}`, {
        hint: `ask for access, or use another account: ${login}`,
        details,
      });
    case 404:
    case 410:
      return new ModeldlError('NOT_FOUND', `The ${what} does not exist at ${url.host}, or is private`, {
        hint: `check its name; for a private one ${login}`,
        details,
      });
    default:
      return new ModeldlError('NETWORK', `${source} answered ${status}: ${address}`, {
        hint: 'try again later',
        details,
      });
  }
}

/** The answer is no document of this kind: a login page, a captive portal, a wrong address in the configuration. */
export function notAnIndex(document: Document, { source }: Question, setting: string): ModeldlError {
  const address = `${document.url.origin}${document.url.pathname}`;
  const type = document.contentType === '' ? 'no content type' : document.contentType;
  return new ModeldlError('NETWORK', `${source} gave no answer of its kind (${type}): ${address}`, {
    hint: `check \`${setting}\`, and whether a proxy wants a login first`,
    details: { url: address },
  });
}

async function readBytes(response: Response, url: URL, { source }: Question): Promise<Buffer> {
  if (response.body === null) return Buffer.alloc(0);
  const reader = response.body.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const chunk: unknown = part.value;
    if (!(chunk instanceof Uint8Array)) continue;
    bytes += chunk.length;
    if (bytes > MAX_DOCUMENT_BYTES) {
      await reader.cancel();
      throw new ModeldlError(
        'NETWORK',
        `${source} answered more than ${MAX_DOCUMENT_BYTES} bytes: ${url.origin}`,
        {
          details: { url: `${url.origin}${url.pathname}` },
        },
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** `Basic` of the user information of an address, RFC 7617. */
export function basicAuthorization({ username, password }: URL): string {
  const text = `${decodePart(username)}:${decodePart(password)}`;
  return `Basic ${Buffer.from(text).toString('base64')}`;
}

/** Do two addresses lead to one server? A credential that is for one may then go to the other. */
export function sameServer(a: string | URL, b: string | URL): boolean {
  return new URL(a).origin === new URL(b).origin;
}

/**
 * A file's address as an index gave it. What an index adds as a query is for fetching only: it may be a signature.
 * @throws ModeldlError INTEGRITY when following it would be unsafe
 */
export function fileAddress(text: string, document: URL): { readonly url: string; readonly query?: string } {
  const url = URL.canParse(text, document.href) ? new URL(text, document) : undefined;
  const encrypted =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && document.protocol === 'http:');
  if (url === undefined || !encrypted) {
    throw new ModeldlError(
      'INTEGRITY',
      `Refused the file address that ${document.host} gave: ${JSON.stringify(text)}`,
      {
        hint: 'an encrypted index must name encrypted addresses',
        details: { url: `${document.origin}${document.pathname}` },
      },
    );
  }
  const query = url.search.slice(1);
  // Credentials are attached by origin when a request is made, never taken from a document.
  return { url: `${url.origin}${url.pathname}`, ...(query === '' ? {} : { query }) };
}
