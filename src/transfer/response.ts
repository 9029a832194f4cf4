/** What an answer to a download means. */
import * as v from 'valibot';
import { ModeldlError } from '../errors.js';
import { parseJson } from '../json.js';
import { redactUrl } from '../redact.js';
import type { DownloadRequest } from './download.js';
import type { HttpResponse } from './http.js';

/**
 * Checks a `Content-Range` against `[start, end)`, which was asked for; undefined when it is another range. `total` is
 * unknown for `*`.
 */
export function checkRange(
  header: string | undefined,
  start: number,
  end: number,
  size: number | undefined,
): { readonly total: number | undefined } | undefined {
  const [, from, to, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header?.trim() ?? '') ?? [];
  if (from === undefined || to === undefined || Number(from) !== start) return undefined;
  if (Number(to) < start || Number(to) >= end) return undefined;
  if (total === undefined || total === '*') return { total: undefined };
  if (size !== undefined && Number(total) !== size) return undefined;
  return { total: Number(total) };
}

/** What an answer said about the version of the file that its bytes are of. */
export interface FileVersion {
  readonly etag?: string;
  /** `Last-Modified` and `Date` as they were sent. */
  readonly modified?: string;
  readonly answered?: string;
  /** The whole file, bytes. */
  readonly size?: number;
  /** The address that was asked: another server may name the same bytes otherwise. */
  readonly from?: string;
}

/**
 * What may be expected of the next answer when bytes of this version are here. Among several sources, of which a digest
 * decides, nothing of what another one said.
 */
export function versionAt(
  version: FileVersion | undefined,
  { url, digest, sources }: Pick<DownloadRequest, 'url' | 'digest' | 'sources'>,
): FileVersion | undefined {
  const isForeign = version?.from !== undefined && version.from !== redactUrl(url);
  return isForeign && digest !== undefined && sources !== undefined ? undefined : version;
}

/** @param size of the whole file, where the answer told */
export function versionOf(response: HttpResponse, size: number | undefined): FileVersion {
  const etag = response.header('etag');
  const modified = response.header('last-modified');
  const answered = response.header('date');
  return {
    ...(etag === undefined ? {} : { etag }),
    ...(modified === undefined ? {} : { modified }),
    ...(answered === undefined ? {} : { answered }),
    ...(size === undefined ? {} : { size }),
  };
}

/** A file may change twice within a second, and a server's clocks may differ (RFC 9110, section 8.8.2.2). */
const STRONG_AFTER_MS = 60_000;

/**
 * The `If-Range` that gives the rest of this very version or else all of another: a strong ETag, or a time of change
 * that lay long enough before the answer to stand for one version only. Undefined when nothing proves that much.
 */
export function rangeCondition(version: FileVersion | undefined): string | undefined {
  if (version?.etag?.startsWith('"')) return version.etag;
  const { modified = '', answered = '' } = version ?? {};
  return Date.parse(answered) - Date.parse(modified) >= STRONG_AFTER_MS ? modified : undefined;
}

/**
 * Asks for `[start, end)`, or without an end for all from there on: of this very version, where that can be told.
 * @param source what the bytes before came from
 */
export function rangeHeaders(
  start: number,
  end: number | undefined,
  source: FileVersion | undefined,
): Readonly<Record<string, string>> {
  const condition = rangeCondition(source);
  return {
    range: `bytes=${start}-${end === undefined ? '' : end - 1}`,
    ...(condition === undefined ? {} : { 'if-range': condition }),
  };
}

/**
 * Is an answer the part `[start, end)` that was asked for, and of the same version as `source`?
 * @param size of the whole file, bytes, as far as it is known
 * @returns what it tells of the whole file's size, or why it is not
 */
export function acceptPart(
  response: HttpResponse,
  start: number,
  end: number,
  size: number | undefined,
  source: FileVersion | undefined,
): { readonly total: number | undefined } | string {
  const range = checkRange(response.header('content-range'), start, end, size);
  if (isOtherVersion(source, versionOf(response, range?.total))) return 'the file changed at its source';
  return range ?? 'the server sent another range than was asked for';
}

/** A signed address that expired is refused where the stable one led; that one gives a new one. Tells so, or nothing. */
export function expiredAddress(
  response: HttpResponse,
  request: Pick<DownloadRequest, 'url'>,
): string | undefined {
  const { origin, host } = new URL(response.url);
  if (response.status !== 403 || origin === new URL(request.url).origin) return undefined;
  return `the address it redirects to was refused (${host})`;
}

/**
 * A digest finds out when a file is pieced together of two versions; without one, the rest is asked for only under a
 * condition that excludes it.
 */
export function mayContinue(
  request: Pick<DownloadRequest, 'digest'>,
  source: FileVersion | undefined,
): boolean {
  return request.digest !== undefined || rangeCondition(source) !== undefined;
}

/** Does anything that both answers told differ? A server may leave out of a part what it told of the whole. */
function isOtherVersion(first: FileVersion | undefined, later: FileVersion): boolean {
  return (['etag', 'modified', 'size'] as const).some(
    (told) => first?.[told] !== undefined && later[told] !== undefined && first[told] !== later[told],
  );
}

/** How hints say that the next run goes on. */
export const KEPT = 'what was fetched is kept';

/** The error that a refused download stands for. */
export async function statusError(
  response: HttpResponse,
  request: Pick<DownloadRequest, 'label' | 'url' | 'loginHint'>,
): Promise<ModeldlError> {
  const url = redactUrl(request.url);
  const details = { url, file: request.label, status: response.status };
  const said = withoutQueries(response.header('x-error-message') ?? (await shortText(response))).slice(
    0,
    200,
  );
  const because = said === '' ? '' : `: ${said}`;
  switch (response.status) {
    case 401:
      return new ModeldlError('AUTH', `The server wants a login for ${request.label}${because}`, {
        hint: request.loginHint ?? 'this address is asked without a login; look at it in a browser',
        details,
      });
    case 403:
      return new ModeldlError('GATED', `The server refuses access to ${request.label}${because}`, {
        hint: 'your account may need access: visit the address in a browser',
        details,
      });
    case 404:
    case 410:
      return new ModeldlError('NOT_FOUND', `No such file at ${url}${because}`, {
        hint: 'look at the address in a browser: what is listed may have been removed, and may come back later',
        details,
      });
    default:
      return new ModeldlError('NETWORK', `${url} answered ${response.status}${because}`, {
        hint:
          response.header('retry-after') === undefined
            ? `try again later; ${KEPT}`
            : `try again later, or allow a longer wait with \`--max-wait\`; ${KEPT}`,
        details,
      });
  }
}

/** A compressed body is another one than the digest is of, and its parts do not fit. */
export function isCompressed(response: HttpResponse): boolean {
  return (response.header('content-encoding') ?? 'identity') !== 'identity';
}

/** @throws ModeldlError NETWORK for a compressed body */
export function refuseCompressed(response: HttpResponse): void {
  if (!isCompressed(response)) return;
  response.discard();
  throw new ModeldlError(
    'NETWORK',
    `${redactUrl(response.url)} answered ${response.header('content-encoding') ?? ''} although it was asked not to compress`,
    {
      hint: 'a proxy between may be changing answers',
      details: { url: redactUrl(response.url) },
    },
  );
}

/** Error pages and login forms come with status 200. */
export function isWebPage(response: HttpResponse, request: Pick<DownloadRequest, 'label'>): boolean {
  if (!/^(text\/html|application\/xhtml)/i.test(response.header('content-type') ?? '')) return false;
  return !/\.x?html?$/i.test(request.label);
}

/** Without a digest nothing else would notice. */
export function refuseWebPage(response: HttpResponse, request: DownloadRequest): void {
  if (!isWebPage(response, request)) return;
  response.discard();
  throw new ModeldlError(
    'INTEGRITY',
    `The address answers a web page, not a model: ${redactUrl(request.url)}`,
    {
      hint: 'use the address of the file itself, as the download button of the page has it',
      details: { url: redactUrl(request.url), file: request.label },
    },
  );
}

/** What makes one of several sources be left, before anything is given up that came from others. */
export function unusable(response: HttpResponse, request: DownloadRequest, why: string): ModeldlError {
  response.discard();
  const url = redactUrl(request.url);
  return new ModeldlError('NETWORK', `${url} is of no use: ${why}`, {
    hint: `try again later; ${KEPT}`,
    details: { url, file: request.label, status: response.status },
  });
}

export function wrongSize(request: DownloadRequest, bytes: number): ModeldlError {
  return new ModeldlError(
    'INTEGRITY',
    `The size of ${request.label} is wrong: expected ${request.size ?? 0} bytes, got ${bytes}`,
    {
      hint: 'the source changed or something between cuts its answers; try again later',
      details: { file: request.label, url: redactUrl(request.url) },
    },
  );
}

export function tooLong(request: DownloadRequest, limit: number): ModeldlError {
  return new ModeldlError('INTEGRITY', `${request.label} is longer than the ${limit} bytes it may have`, {
    hint: 'the source changed, or the address is not a model',
    details: { file: request.label, url: redactUrl(request.url) },
  });
}

/** The answer's own words when they are few, else nothing. */
async function shortText(response: HttpResponse): Promise<string> {
  const type = response.header('content-type') ?? '';
  const length = Number(response.header('content-length') ?? 0);
  if (!/^(text\/plain|application\/json)/.test(type) || length > 4096) {
    response.discard();
    return '';
  }
  const text = await response.text().catch(() => '');
  const words = type.startsWith('text/plain') ? text : v.parse(wordsSchema, parseJson(text));
  return words.replace(/\s+/g, ' ').trim();
}

/** Where servers put the words for people into JSON: registries, Hugging Face and npm, FastAPI, GitHub. */
const wordsSchema = v.fallback(
  v.union([
    v.pipe(
      v.object({ errors: v.tupleWithRest([v.object({ message: v.string() })], v.unknown()) }),
      v.transform(({ errors: [{ message }] }) => message),
    ),
    v.pipe(
      v.object({ error: v.object({ message: v.string() }) }),
      v.transform(({ error }) => error.message),
    ),
    v.pipe(
      v.object({ error: v.string() }),
      v.transform(({ error }) => error),
    ),
    v.pipe(
      v.object({ message: v.string() }),
      v.transform(({ message }) => message),
    ),
    v.pipe(
      v.object({ detail: v.string() }),
      v.transform(({ detail }) => detail),
    ),
  ]),
  '',
);

/** Servers repeat the address that they were asked for, and its query may be a signature. */
function withoutQueries(text: string): string {
  return text.replace(/\?[^\s"'`<>]+/g, '');
}
