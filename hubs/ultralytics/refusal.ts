/** What a refusal of GitHub's API means: its status, and for a used-up rate limit its headers. */
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { ASSETS, PUBLIC_ENDPOINT, releasePage } from './endpoint.js';

/** Beyond this a server's own words are no longer quoted. */
const MAX_QUOTED = 200;

/** The error that a refused request stands for; `said` is the message in its body, if any. */
export async function refusal(
  response: Response,
  said: string,
  endpoint: string,
  context: HubContext,
): Promise<ModeldlError> {
  const url = addressOf(response);
  const { host } = new URL(response.url);
  const credential = await context.credential(response.url);
  const source = credential === undefined ? '' : ` (token from ${credential.source})`;
  const quoted = said === '' ? '' : `: ${said.replace(/\s+/g, ' ').slice(0, MAX_QUOTED)}`;
  const refused = (code: ErrorCode, message: string, hint: string): ModeldlError =>
    new ModeldlError(code, message, {
      hint,
      details: {
        url,
        status: response.status,
        ...(credential === undefined ? {} : { tokenSource: credential.source }),
      },
    });

  if (isLimit(response, said)) {
    return refused(
      'NETWORK',
      `${host} takes no more requests ${untilWhen(response)}${source}`,
      credential === undefined
        ? 'wait until then; a token (`modeldl login ultralytics`, or GH_TOKEN) raises the limit'
        : 'wait until then, or use a token of another account',
    );
  }
  switch (response.status) {
    case 401:
      return credential === undefined
        ? refused(
            'AUTH',
            `${host} wants a login for the releases of ${ASSETS}`,
            'run `modeldl login ultralytics`',
          )
        : refused(
            'AUTH',
            `${host} does not accept the token from ${credential.source}${quoted}`,
            `make a new one at ${tokenPage(endpoint)} and run \`modeldl login ultralytics\`, or remove it: public files need none`,
          );
    case 403:
      return refused(
        'AUTH',
        `${host} refuses access to the releases of ${ASSETS}${source}${quoted}`,
        credential === undefined
          ? 'run `modeldl login ultralytics`'
          : `check at ${tokenPage(endpoint)} what that token may do`,
      );
    default:
      return refused('NETWORK', `${host} answered ${response.status}${quoted}: ${url}`, 'try again later');
  }
}

/** The answer is not what the API answers: a login page, a captive portal, a wrong endpoint. */
export function notTheApi(response: Response, endpoint: string): ModeldlError {
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const url = addressOf(response);
  return new ModeldlError('NETWORK', `No answer of GitHub's API (${response.status}, ${type}): ${url}`, {
    hint: `check \`hubs.ultralytics.endpoint\` (${endpoint}), and whether a proxy wants a login first`,
    details: { url, status: response.status },
  });
}

/** The repository is not there, or not for everybody to see. */
export async function noRepository(
  endpoint: string,
  api: string,
  context: HubContext,
): Promise<ModeldlError> {
  const credential = await context.credential(api);
  const { host } = new URL(endpoint);
  return new ModeldlError(
    'NOT_FOUND',
    credential === undefined
      ? `There is no repository ${ASSETS} at ${host}, or it is private and you are not logged in`
      : `There is no repository ${ASSETS} at ${host}, or it is private to others (token from ${credential.source})`,
    {
      hint: 'check `hubs.ultralytics.endpoint`; for a private copy run `modeldl login ultralytics`',
      details: { url: releasePage(endpoint) },
    },
  );
}

/** Page where a user makes a token. */
export function tokenPage(endpoint: string = PUBLIC_ENDPOINT): string {
  return `${endpoint}/settings/tokens`;
}

/**
 * The primary limit answers 403 or 429 with `x-ratelimit-remaining: 0`; the secondary ones with `retry-after`, or with
 * nothing but words. (docs.github.com, "Rate limits for the REST API")
 */
function isLimit({ status, headers }: Response, said: string): boolean {
  if (status === 429) return true;
  if (status !== 403) return false;
  const used = headers.get('x-ratelimit-remaining') === '0' || headers.has('retry-after');
  return used || /\brate limit\b/i.test(said);
}

/** By the server's clock: seconds since 1970, or seconds to wait. */
function untilWhen({ headers }: Response): string {
  const seconds = headers.get('retry-after') ?? '';
  if (/^\d{1,6}$/.test(seconds)) return `for ${seconds} s`;
  const reset = headers.get('x-ratelimit-reset') ?? '';
  // Without either the documentation asks for a minute.
  if (!/^\d{1,11}$/.test(reset)) return 'for a minute or more';
  return `until ${new Date(Number(reset) * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

function addressOf(response: Response): string {
  const { origin, pathname } = new URL(response.url);
  return `${origin}${pathname}`;
}
