/** What an answer to a download means. */
import { ModeldlError } from '../errors.js';
import { redactUrl } from '../redact.js';
import type { HttpResponse } from './http.js';

/** Checks a `Content-Range` against what was asked; undefined when it is another range. `total` is unknown for `*`. */
export function checkRange(
  header: string | undefined,
  start: number,
  size: number | undefined,
): { readonly total: number | undefined } | undefined {
  const [, from, to, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header?.trim() ?? '') ?? [];
  if (from === undefined || to === undefined || Number(from) !== start || Number(to) < start)
    return undefined;
  if (total === undefined || total === '*') return { total: undefined };
  if (size !== undefined && Number(total) !== size) return undefined;
  return { total: Number(total) };
}

/** The error that a refused download stands for. */
export async function statusError(
  response: HttpResponse,
  request: { readonly label: string; readonly url: string },
): Promise<ModeldlError> {
  const url = redactUrl(request.url);
  const details = { url, file: request.label, status: response.status };
  const said = (response.header('x-error-message') ?? (await shortText(response))).slice(0, 200);
  const because = said === '' ? '' : `: ${said}`;
  switch (response.status) {
    case 401:
      return new ModeldlError('AUTH', `The server wants a login for ${request.label}${because}`, {
        hint: 'log in with `modeldl login <hub>`',
        details,
      });
    case 403:
      return new ModeldlError('GATED', `The server refuses access to ${request.label}${because}`, {
        hint: 'your account may need access: visit the address in a browser',
        details,
      });
    case 404:
    case 410:
      return new ModeldlError('NOT_FOUND', `No such file at ${url}${because}`, { details });
    default:
      return new ModeldlError('NETWORK', `${url} answered ${response.status}${because}`, {
        hint: 'try again later; what was fetched is kept',
        details,
      });
  }
}

/** The answer's own words when they are short text, else nothing. */
async function shortText(response: HttpResponse): Promise<string> {
  const type = response.header('content-type') ?? '';
  const length = Number(response.header('content-length') ?? 0);
  if (!/^(text\/plain|application\/json)/.test(type) || length > 4096) {
    response.discard();
    return '';
  }
  const text = await response.text().catch(() => '');
  return text.replace(/\s+/g, ' ').trim();
}
