/** Requests of Geti's REST API, of both generations, and what its refusals mean. */
import * as v from 'valibot';
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { requireEndpoint } from './endpoint.js';

/** Beyond this a server's own words are no longer quoted. */
const MAX_QUOTED = 200;

/** 2.x says `message`, 3.x `detail`. */
const saidSchema = v.looseObject({
  message: v.optional(v.string()),
  detail: v.optional(v.unknown()),
});

/** Ids are put into addresses: nothing but hex, letters and dashes. */
export const id = v.pipe(v.string(), v.regex(/^[0-9A-Za-z-]{1,64}$/));
/** Formats and precisions become names of files. */
export const word = v.pipe(v.string(), v.regex(/^\w[\w.-]{0,39}$/));

export interface Api {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** @throws ModeldlError NOT_FOUND, AUTH, NETWORK */
  get<Schema extends v.GenericSchema>(schema: Schema, path: string): Promise<v.InferOutput<Schema>>;
  /** Undefined where the server has no such address: a 404, or its web page. @throws ModeldlError AUTH, NETWORK */
  find<Schema extends v.GenericSchema>(
    schema: Schema,
    path: string,
  ): Promise<v.InferOutput<Schema> | undefined>;
  /** Why `find` found nothing: the server wants a login, or is no Geti. */
  nothingFound(path: string): Promise<ModeldlError>;
}

/** @throws ModeldlError CONFIG without an endpoint */
export function openApi(context: HubContext): Api {
  const endpoint = requireEndpoint(context);

  const unknown: Response[] = [];

  async function ask(path: string): Promise<{ readonly response: Response; readonly body: unknown }> {
    // Redirects lead to the login page, as the SDK takes them too.
    const response = await context.fetch(`${endpoint}/${path}`, {
      redirect: 'manual',
      headers: { accept: 'application/json' },
      signal: context.signal,
    });
    const isJson = /^application\/(\S+\+)?json\b/i.test(response.headers.get('content-type') ?? '');
    if (!isJson) await response.body?.cancel();
    // The client bounds what is read of a document.
    return { response, body: isJson ? parseJson(await response.text()) : undefined };
  }

  async function read<Schema extends v.GenericSchema>(
    schema: Schema,
    path: string,
    { response, body }: Awaited<ReturnType<typeof ask>>,
  ): Promise<v.InferOutput<Schema>> {
    const url = `${endpoint}/${path}`;
    if (isLoginPage(response)) throw await wantsLogin(response, url, context);
    if (!response.ok) throw await refusal(response, body, url, context);
    const answer = v.safeParse(schema, body);
    if (answer.success) return answer.output;
    throw notTheApi(response, url, v.getDotPath(answer.issues[0]) ?? undefined);
  }

  return {
    endpoint,
    async get(schema, path) {
      return read(schema, path, await ask(path));
    },
    async find(schema, path) {
      const asked = await ask(path);
      if (asked.response.status === 404 || isLoginPage(asked.response)) {
        unknown.push(asked.response);
        return undefined;
      }
      return read(schema, path, asked);
    },
    async nothingFound(path) {
      const url = `${endpoint}/${path}`;
      const [first] = unknown;
      const page = unknown.find(isLoginPage);
      return page === undefined && first !== undefined
        ? notTheApi(first, url, undefined)
        : wantsLogin(page, url, context);
    },
  };
}

/** A web page in place of an answer, or the way to one. */
function isLoginPage({ status, headers }: Response): boolean {
  const isPage = /^(text\/html|application\/xhtml\+xml)\b/i.test(headers.get('content-type') ?? '');
  return (status >= 300 && status < 400) || (status === 200 && isPage);
}

/** A web page where the API should be: 2.x leads there without a token that it takes. @throws nothing */
async function wantsLogin(
  response: Pick<Response, 'status'> | undefined,
  url: string,
  context: HubContext,
): Promise<ModeldlError> {
  const credential = await context.credential(url);
  const { host } = new URL(url);
  const details = { url, ...(response === undefined ? {} : { status: response.status }) };
  if (credential === undefined) {
    return new ModeldlError('AUTH', `${host} answers a web page, as Geti does without a login: ${url}`, {
      hint: `${LOGIN}; if that is no Geti server, check \`hubs.geti.endpoint\` (GETI_HOST)`,
      details,
    });
  }
  const message = `${host} answers a web page to the token from ${credential.source}: ${url}`;
  return new ModeldlError('AUTH', message, {
    hint: `${NEW_TOKEN}; if that is no Geti server, check \`hubs.geti.endpoint\` (GETI_HOST)`,
    details: { ...details, tokenSource: credential.source },
  });
}

const LOGIN =
  'run `modeldl login geti`, or set GETI_TOKEN to a personal access token of your account in Geti';
const NEW_TOKEN =
  'make a new personal access token in Geti (account, personal access token) and run `modeldl login geti`';

async function refusal(
  response: Response,
  body: unknown,
  url: string,
  context: HubContext,
): Promise<ModeldlError> {
  const { status } = response;
  const { host } = new URL(url);
  const credential = await context.credential(url);
  const said = saidIn(body);
  const refused = (code: ErrorCode, message: string, hint: string): ModeldlError =>
    new ModeldlError(code, message, {
      hint,
      details: { url, status, ...(credential === undefined ? {} : { tokenSource: credential.source }) },
    });
  const token = credential === undefined ? '' : ` (token from ${credential.source})`;
  switch (status) {
    case 401:
      return credential === undefined
        ? refused('AUTH', `${host} wants a login${said}`, LOGIN)
        : refused(
            'AUTH',
            `${host} does not accept the token from ${credential.source}: it is wrong or expired${said}`,
            NEW_TOKEN,
          );
    case 403:
      return credential === undefined
        ? refused('AUTH', `${host} refuses access without a login${said}: ${url}`, LOGIN)
        : refused(
            'AUTH',
            `${host} refuses access to this account${token}${said}: ${url}`,
            'ask an administrator of the workspace or project for a role in it',
          );
    case 400:
    case 404:
    case 422: {
      const { pathname } = new URL(url);
      return refused(
        'NOT_FOUND',
        `${host} has no ${pathname}${said}`,
        /\/projects\/[^/]/.test(pathname)
          ? 'it was there a moment ago, so it may just have been deleted: run the command again'
          : 'check `hubs.geti.workspace` (GETI_WORKSPACE_ID), `hubs.geti.organization` and `hubs.geti.api`, where set',
      );
    }
    default:
      return refused('NETWORK', `${host} answered ${status}${said}: ${url}`, 'try again later');
  }
}

function notTheApi(response: Response, url: string, where: string | undefined): ModeldlError {
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const at = where === undefined ? '' : `, at \`${where}\``;
  return new ModeldlError('NETWORK', `No answer of Geti's API (${response.status}, ${type}${at}): ${url}`, {
    hint: 'check `hubs.geti.endpoint` (GETI_HOST), and whether a proxy wants a login first',
    details: { url, status: response.status },
  });
}

function saidIn(body: unknown): string {
  const said = v.safeParse(saidSchema, body);
  if (!said.success) return '';
  const { message, detail } = said.output;
  const text = message ?? (typeof detail === 'string' ? detail : undefined);
  return text === undefined ? '' : `: ${text.replace(/\s+/g, ' ').slice(0, MAX_QUOTED)}`;
}
