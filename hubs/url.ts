/** Plain web addresses: one file, or an archive that is unpacked. */
import { ModeldlError, throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, HubSettingsContext, RemoteFile, Unpack } from '../src/hub.js';
import type { Reference } from '../src/reference.js';
import { allowAddress } from './url/allow.js';
import { archiveFormat, formatAddress, parseAddress, readId } from './url/reference.js';

/** Answers to HEAD that say nothing about GET: signed addresses are signed for one method, and some servers lack HEAD. */
const HEAD_REFUSED = new Set([400, 403, 404, 405, 501]);

const LOGIN_HINT =
  'plain addresses are asked without credentials; use a signed address, or the hub that the model is on';

export const url = {
  name: 'url',
  title: 'Web addresses',
  syntax: {
    hub: 'url',
    schemes: ['https', 'http'],
    unpacks: true,
    parse: parseAddress,
    format: formatAddress,
  },
  loginHint: LOGIN_HINT,
  namesFiles: true,
  pinsByDigest: true,
  settings: {
    allow: {
      description: 'Prefixes of the only addresses that may be asked, redirects included',
      type: 'string[]',
      trust: true,
    },
    insecure: {
      description: 'Hosts, with their port unless it is 80, that may be asked without encryption',
      type: 'string[]',
      trust: true,
    },
    maxBytes: { description: 'Files longer than this are refused, bytes', type: 'number', trust: true },
  },
  allow: allowAddress,
  addressOf: (_path, { id }) => readId(id).address.href,
  resolve,
} as const satisfies Hub;

interface Facts {
  readonly size?: number;
  readonly validator?: string;
  readonly contentType: string;
  /** File name of `Content-Disposition`. */
  readonly suggestedName?: string;
}

async function resolve(reference: Reference, context: HubContext): ReturnType<Hub['resolve']> {
  throwIfAborted(context.signal);
  const { address, unpack } = readId(reference.id);
  allowAddress(address, context);
  const pinned = reference.sha256;
  let name = baseName(address.pathname);
  let format = archiveFormat(address.pathname);
  let facts: Facts | undefined;
  if (pinned === undefined || name === undefined || (unpack && format === undefined)) {
    facts = await ask(address, reference.query, context);
    refuseWebPage(facts, name, address);
    name ??= facts.suggestedName;
    format ??= archiveFormat(facts.suggestedName ?? '') ?? archiveOfType(facts.contentType);
  }
  const maxBytes = sizeLimit(context, facts?.size, address);
  const file: RemoteFile = {
    // An address without any name is the host's own page: its bytes still need one.
    path: name ?? 'model',
    url: address.href,
    ...(reference.query === undefined ? {} : { query: reference.query }),
    ...(facts?.size === undefined ? {} : { size: facts.size }),
    ...(pinned === undefined ? {} : { digest: { algorithm: 'sha256', hex: pinned } }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(unpack ? { unpack: { format: knownFormat(format, address) } } : {}),
  };
  return {
    hub: 'url',
    id: reference.id,
    ...(pinned === undefined ? {} : { revision: pinned }),
    ...(facts?.validator === undefined ? {} : { validator: facts.validator }),
    files: [file],
    metadata: {},
  };
}

/** One HEAD, or one GET of a single byte where HEAD is refused. */
async function ask(address: URL, query: string | undefined, context: HubContext): Promise<Facts> {
  const target = new URL(address);
  if (query !== undefined) target.search = query;
  const head = await context.fetch(target, { method: 'HEAD', signal: context.signal });
  const response = HEAD_REFUSED.has(head.status)
    ? await context.fetch(target, { headers: { range: 'bytes=0-0' }, signal: context.signal })
    : head;
  await response.body?.cancel();
  if (response.url !== '') allowAddress(new URL(response.url), context);
  const range = response.headers.get('content-range');
  // An empty file has no first byte: the server says so with its length, 0.
  const empty = response.status === 416 && range === 'bytes */0';
  if (!response.ok && !empty) throw refused(response, address);
  const size = empty ? 0 : sizeOf(response, range);
  const etag = response.headers.get('etag');
  const modified = response.headers.get('last-modified');
  const suggestedName = dispositionName(response.headers.get('content-disposition'));
  return {
    contentType: mediaType(response),
    ...(size === undefined ? {} : { size }),
    ...(etag === null && modified === null
      ? {}
      : { validator: `${etag ?? ''} ${modified ?? ''} ${size ?? ''}` }),
    ...(suggestedName === undefined ? {} : { suggestedName }),
  };
}

function sizeOf(response: Response, range: string | null): number | undefined {
  // Compressed on the way: the length is not the file's.
  if (!['identity', null].includes(response.headers.get('content-encoding'))) return undefined;
  const text =
    response.status === 206 ? /\/(\d+)$/.exec(range ?? '')?.[1] : response.headers.get('content-length');
  return text == null || !/^\d+$/.test(text) ? undefined : Number(text);
}

function refused(response: Response, address: URL): ModeldlError {
  const details = { url: address.href, status: response.status };
  switch (response.status) {
    case 401:
    case 403:
      return new ModeldlError('AUTH', `The server wants a login for ${address.href}: ${response.status}`, {
        hint: LOGIN_HINT,
        details,
      });
    case 404:
    case 410:
      return new ModeldlError('NOT_FOUND', `No such file: ${address.href}`, {
        hint: 'check the address in a browser',
        details,
      });
    default:
      return new ModeldlError('NETWORK', `${address.href} answered ${response.status}`, {
        hint: 'try again later',
        details,
      });
  }
}

function refuseWebPage(facts: Facts, name: string | undefined, address: URL): void {
  if (!['text/html', 'application/xhtml+xml'].includes(facts.contentType)) return;
  if (name !== undefined && /\.x?html?$/i.test(name)) return;
  throw new ModeldlError('INTEGRITY', `The address answers a web page, not a model: ${address.href}`, {
    hint: 'use the address of the file itself, as the download button of the page has it',
    details: { url: address.href },
  });
}

function sizeLimit(context: HubSettingsContext, size: number | undefined, address: URL): number | undefined {
  const limit = context.settings['maxBytes'];
  if (typeof limit !== 'number') return undefined;
  if (size !== undefined && size > limit) {
    throw new ModeldlError(
      'INTEGRITY',
      `${address.href} has ${size} bytes, more than the ${limit} it may have`,
      {
        hint: 'raise `hubs.url.maxBytes` in the configuration',
        details: { url: address.href },
      },
    );
  }
  return limit;
}

function knownFormat(format: Unpack['format'] | undefined, address: URL): Unpack['format'] {
  if (format !== undefined) return format;
  throw new ModeldlError('UNSUPPORTED', `Cannot tell what kind of archive this is: ${address.href}`, {
    hint: 'archives are .zip, .whl, .tar, .tar.gz, .tar.xz and .tar.zst; fetch other files without `--unpack`',
    details: { url: address.href },
  });
}

/** Media types of archives, without parameters (IANA, and the older `x-` spellings that servers still send). */
function archiveOfType(contentType: string): Unpack['format'] | undefined {
  const formats: Readonly<Record<string, Unpack['format']>> = {
    zip: 'zip',
    'zip-compressed': 'zip',
    tar: 'tar',
    gzip: 'tar.gz',
    gtar: 'tar.gz',
    xz: 'tar.xz',
    zstd: 'tar.zst',
  };
  return formats[contentType.replace(/^application\/(x-)?/, '')];
}

function mediaType(response: Response): string {
  return (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

/** Last segment of a path, decoded; one whose decoded form is no file name stays encoded. */
function baseName(path: string): string | undefined {
  const encoded = path.slice(path.lastIndexOf('/') + 1);
  if (encoded === '') return undefined;
  try {
    const decoded = decodeURIComponent(encoded);
    return isFileName(decoded) ? decoded : encoded;
  } catch {
    return encoded;
  }
}

/** RFC 6266; only a plain file name is taken, since a server may write anything here. */
function dispositionName(header: string | null): string | undefined {
  const extended = /filename\*\s*=\s*utf-8''([^;\s]+)/i.exec(header ?? '')?.[1];
  const plain = /filename\s*=\s*(?:"([^"]*)"|([^;\s]+))/i.exec(header ?? '');
  const name = extended === undefined ? (plain?.[1] ?? plain?.[2]) : baseName(`/${extended}`);
  return name !== undefined && isFileName(name) ? name : undefined;
}

function isFileName(name: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return name !== '' && name !== '.' && name !== '..' && !/[\u0000-\u001f\u007f/\\]/.test(name);
}
