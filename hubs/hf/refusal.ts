/** What a refusal of the hub means: its error code decides, then the status. */
import * as v from 'valibot';
import { ModeldlError, type ErrorCode, type ErrorDetails } from '../../src/errors.js';
import type { Credential, HubContext, Reading } from '../../src/hub.js';
import { formatStandard } from '../../src/reference.js';
import { nearestVersions } from '../versions.js';

/** What was asked for, for messages. */
export interface Asked {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** Undefined when the question is not about a model. */
  readonly id?: string;
  readonly revision?: string;
  readonly subpath?: string;
  /** Names of the model's branches and tags; asked for when a revision is unknown. */
  refs?(): Promise<KnownRefs>;
}

export interface KnownRefs {
  readonly branches: readonly string[];
  readonly tags: readonly string[];
}

const errorBody = v.object({ error: v.union([v.string(), v.array(v.string())]) });

/** The error that a refused request stands for; `body` is its answer, as far as that was text. */
export async function refusal(
  response: Response,
  body: string,
  asked: Asked,
  context: HubContext,
): Promise<ModeldlError> {
  const code = response.headers.get('x-error-code');
  if (code === null && isWebPage(response)) return notAHub(response, asked);
  const said = saidBy(response, body);
  const credential = await context.credential(asked.endpoint);
  const requestId = response.headers.get('x-request-id') ?? response.headers.get('x-amzn-trace-id');
  const page = pageOf(asked);
  const model = asked.id === undefined ? 'this request' : `the model ${asked.id}`;
  const hub = hubAt(asked.endpoint);
  const refused = (errorCode: ErrorCode, message: string, hint: string): ModeldlError =>
    new ModeldlError(errorCode, message, {
      hint,
      details: { url: page, ...detailsOf(response, requestId, credential) },
    });

  if (code === 'RevisionNotFound') return unknownRevision(asked, refused);
  if (code === 'GatedRepo') {
    return credential === undefined
      ? refused(
          'GATED',
          `Access to ${model} has to be asked for, and you are not logged in to ${hub}: ${page}`,
          'ask for access on that page, then run `modeldl login hf`',
        )
      : refused(
          'GATED',
          `Your account has no access to ${model} yet (token from ${credential.source}): ${page}`,
          'ask for access on that page; a fine-grained token also needs permission for gated models',
        );
  }
  if (/access to this resource is disabled/i.test(said)) {
    return refused(
      'NOT_FOUND',
      `${hub} disabled ${model}: ${page}`,
      'its page says why; choose another model',
    );
  }
  switch (response.status) {
    case 401:
      return credential === undefined
        ? refused(
            'AUTH',
            `${upper(model)} does not exist at ${hub}, or is private and you are not logged in: ${page}`,
            'check the name on that page; for a private model run `modeldl login hf`',
          )
        : refused(
            'AUTH',
            `${upper(hub)} does not accept the token from ${credential.source}${quoted(said)}`,
            `make a new one at ${tokenPage(asked.endpoint)} and run \`modeldl login hf\`; a token in the environment wins over that, and is to be replaced or unset there`,
          );
    case 403:
      return refused(
        'AUTH',
        `${upper(hub)} refuses access to ${model}${tokenSource(credential)}${quoted(said)}`,
        `check on ${page} what it needs, and what your token may do at ${tokenPage(asked.endpoint)}`,
      );
    case 404:
    case 410:
      return refused(
        'NOT_FOUND',
        credential === undefined
          ? `${upper(model)} does not exist at ${hub}: ${page}`
          : `${upper(model)} does not exist at ${hub}, or is private to others (token from ${credential.source}): ${page}`,
        asked.id === undefined
          ? 'check the endpoint'
          : `check the name; \`modeldl search ${asked.id.split('/').at(-1) ?? ''}\` looks for it`,
      );
    case 429:
      return refused(
        'NETWORK',
        `${upper(hub)} takes no more requests for now: ${addressOf(response)}`,
        credential === undefined
          ? 'wait some minutes; `modeldl login hf` raises the limit'
          : 'wait some minutes, and pull fewer models at once',
      );
    default:
      return refused(
        'NETWORK',
        `${upper(hub)} answered ${response.status}${quoted(said)}: ${addressOf(response)}`,
        'try again later',
      );
  }
}

/** The answer is not what a hub answers: a login page, a captive portal, a wrong endpoint. */
export function notAHub(response: Response, asked: Asked): ModeldlError {
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const url = addressOf(response);
  return new ModeldlError(
    'NETWORK',
    `No answer of a Hugging Face hub (${response.status}, ${type}): ${url}`,
    {
      hint: `check the endpoint ${asked.endpoint} (\`HF_ENDPOINT\`, \`hubs.hf.endpoint\`), and whether a proxy wants a login first`,
      details: { url, status: response.status },
    },
  );
}

/** Page where a user makes a token. */
export function tokenPage(endpoint: string): string {
  return `${endpoint}/settings/tokens`;
}

/** The model's page for people. */
export function pageOf({ endpoint, id }: Pick<Asked, 'endpoint' | 'id'>): string {
  return id === undefined ? endpoint : `${endpoint}/${id}`;
}

type Refused = (code: ErrorCode, message: string, hint: string) => ModeldlError;

/** Of the known branches and tags the longest that a pasted address can mean, and the subpath after it. */
export function longestRevision(place: string, { branches, tags }: KnownRefs): Reading | undefined {
  const [revision] = [...branches, ...tags]
    .filter((name) => place === name || place.startsWith(`${name}/`))
    .sort((a, b) => b.length - a.length);
  if (revision === undefined) return undefined;
  const subpath = place.slice(revision.length + 1);
  return { revision, ...(subpath === '' ? {} : { subpath }) };
}

/** A revision with slashes may be written as one segment and a subpath: the longest match is offered. */
async function unknownRevision(asked: Asked, refused: Refused): Promise<ModeldlError> {
  const { id = '', revision = '', subpath } = asked;
  const known = (await asked.refs?.()) ?? { branches: [], tags: [] };
  const message = `The model ${id} has no revision ${revision}: ${pageOf(asked)}`;
  const whole = subpath === undefined ? revision : `${revision}/${subpath}`;
  const reading = longestRevision(whole, known);
  if (reading !== undefined && reading.revision !== revision) {
    return refused('NOT_FOUND', message, `did you mean \`${formatStandard('hf', { id, ...reading })}\``);
  }
  const list = (word: string, all: readonly string[]): readonly string[] =>
    all.length === 0 ? [] : [`${word}: ${nearestVersions(revision, all).join(', ')}`];
  const hint = [...list('branches', known.branches), ...list('tags', known.tags)].join('; ');
  return refused('NOT_FOUND', message, hint === '' ? 'its page lists branches and tags' : hint);
}

function hubAt(endpoint: string): string {
  const { hostname, host } = new URL(endpoint);
  return hostname === 'huggingface.co' ? 'Hugging Face' : `the hub ${host}`;
}

function detailsOf(
  response: Response,
  requestId: string | null,
  credential: Credential | undefined,
): ErrorDetails {
  return {
    status: response.status,
    ...(requestId === null ? {} : { requestId }),
    ...(credential === undefined ? {} : { tokenSource: credential.source }),
  };
}

/** The hub's own words: the header that every answer has, else the body's `error`. */
function saidBy(response: Response, body: string): string {
  const header = response.headers.get('x-error-message');
  return (header ?? bodyMessage(body)).replace(/\s+/g, ' ').trim().slice(0, 300);
}

function bodyMessage(body: string): string {
  try {
    const { error } = v.parse(errorBody, JSON.parse(body));
    return typeof error === 'string' ? error : error.join(', ');
  } catch {
    return '';
  }
}

export function isWebPage(response: Response): boolean {
  return /^(text\/html|application\/xhtml\+xml)/i.test(response.headers.get('content-type') ?? '');
}

function addressOf(response: Response): string {
  if (!URL.canParse(response.url)) return response.url;
  const { origin, pathname } = new URL(response.url);
  return `${origin}${pathname}`;
}

function tokenSource(credential: Credential | undefined): string {
  return credential === undefined ? '' : ` (token from ${credential.source})`;
}

function quoted(said: string): string {
  return said === '' ? '' : `: ${said.replace(/\.$/, '')}`;
}

function upper(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
