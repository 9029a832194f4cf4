/** What a refusal of a registry means: its status, and the code in its answer. */
import * as v from 'valibot';
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import { hostOf } from './address.js';
import type { Login } from './login.js';

/** Beyond this a server's own words are no longer quoted. */
const MAX_QUOTED = 200;

const errorsSchema = v.object({
  errors: v.array(v.object({ code: v.string(), message: v.optional(v.string()) })),
});

export interface Said {
  /** `MANIFEST_UNKNOWN` (distribution-spec, "Error Codes"); empty when the answer has none. */
  readonly code: string;
  readonly message: string;
}

export interface Wanted {
  /** `the model host/repository`. */
  readonly what: string;
  /** What else a refusal of those without a login may mean: `, or does not have it`. */
  readonly otherwise: string;
}

/** What the body of a refusal says. */
export function saidBy(text: string): Said {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return { code: '', message: '' };
  }
  const answer = v.safeParse(errorsSchema, document);
  const [first] = answer.success ? answer.output.errors : [];
  return { code: first?.code ?? '', message: first?.message ?? '' };
}

/**
 * The error that a refused request stands for, of all statuses but 404.
 */
export function refusal(
  response: Response,
  text: string,
  { what, otherwise }: Wanted,
  login: Login | undefined,
): ModeldlError {
  const host = hostOf(new URL(response.url).origin);
  const quoted = quotedFrom(text);
  const refused = (code: ErrorCode, message: string, hint: string): ModeldlError =>
    new ModeldlError(code, message, { hint, details: detailsOf(response, login) });
  switch (response.status) {
    case 401:
      return login?.secret === undefined
        ? refused(
            'AUTH',
            `${host} wants a login for ${what}${otherwise}${problemOf(login)}`,
            `check the name; for a private one run \`docker login ${host}\`, or \`oras login ${host}\``,
          )
        : loginRefused(response, host, login);
    case 403:
      return refused(
        'AUTH',
        `${host} refuses access to ${what}${sourceOf(login)}${quoted}`,
        login?.secret === undefined
          ? `check the name; for a private one run \`docker login ${host}\`, or \`oras login ${host}\``
          : 'check what that account may do there',
      );
    default:
      return serverFailed(response, text);
  }
}

/** The registry, or the server that gives its tokens, does not take the user's login. */
export function loginRefused(response: Response, host: string, login: Login | undefined): ModeldlError {
  const known = login?.secret !== undefined;
  return new ModeldlError(
    'AUTH',
    known
      ? `${host} does not accept the login from ${login.source}: wrong, or expired`
      : `${host} gives nobody access without a login${problemOf(login)}`,
    {
      hint: known
        ? `run \`docker login ${host}\` again, or \`docker logout ${host}\`: public models need none`
        : `run \`docker login ${host}\`, or \`oras login ${host}\``,
      details: detailsOf(response, login),
    },
  );
}

export function serverFailed(response: Response, text: string): ModeldlError {
  const { host, protocol } = new URL(response.url);
  const isLimit = response.status === 429;
  // How servers answer that expect a handshake of TLS.
  const mayWantTls = response.status === 400 && protocol === 'http:';
  return new ModeldlError(
    'NETWORK',
    isLimit
      ? `${host} takes no more requests for now${quotedFrom(text)}`
      : `${host} answered ${response.status}${quotedFrom(text)}: ${shownAddress(response)}`,
    {
      hint: isLimit
        ? 'wait some minutes; a login may raise the limit'
        : mayWantTls
          ? `it was asked without encryption: if it has TLS, list \`${host}\` in \`hubs.oci.secure\``
          : 'try again later',
      details: detailsOf(response, undefined),
    },
  );
}

/** The answer is not what a registry answers: a login page, a captive portal, another server. */
export function notARegistry(response: Response): ModeldlError {
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  return new ModeldlError(
    'NETWORK',
    `No answer of a registry (${response.status}, ${type}): ${shownAddress(response)}`,
    {
      hint: 'check the host and its port, and whether a proxy wants a login first',
      details: detailsOf(response, undefined),
    },
  );
}

export function shownAddress(response: Response): string {
  const { origin, pathname } = new URL(response.url);
  return `${origin}${pathname}`;
}

function detailsOf(response: Response, login: Login | undefined): Record<string, unknown> {
  return {
    url: shownAddress(response),
    status: response.status,
    ...(login?.secret === undefined ? {} : { tokenSource: login.source }),
  };
}

function sourceOf(login: Login | undefined): string {
  return login?.secret === undefined ? '' : ` (login from ${login.source})`;
}

function problemOf(login: Login | undefined): string {
  return login?.problem === undefined ? '' : `; ${login.problem}`;
}

function quotedFrom(text: string): string {
  const message = saidBy(text).message.replace(/\s+/g, ' ').trim().slice(0, MAX_QUOTED);
  return message === '' ? '' : `: ${message}`;
}
