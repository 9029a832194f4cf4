/** What a registry's refusal means. */
import * as v from 'valibot';
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { isHuggingFace, KEYS_PAGE, modelPage, tagsPage } from './endpoint.js';
import { nearestVersions } from '../versions.js';
import { keyFile, readKey } from './key.js';
import { DEFAULT_TAG, idOf, type Name } from './reference.js';

/** Beyond this a server's own words are no longer quoted. */
const MAX_QUOTED = 200;

/** One error, or several as registries of Docker have it. */
const saidSchema = v.union([
  v.pipe(
    v.object({ error: v.string() }),
    v.transform(({ error }) => error),
  ),
  v.pipe(
    v.object({ errors: v.array(v.object({ message: v.optional(v.string(), '') })) }),
    v.transform(({ errors }) => errors[0]?.message ?? ''),
  ),
]);

/** Tags of the model that the registry has, as far as it tells any; none where it knows no such model. */
export type OtherTags = () => Promise<readonly string[]>;

/** The error that a refused request for a manifest stands for. */
export async function refusal(
  response: Response,
  body: string,
  name: Name,
  context: HubContext,
  otherTags: OtherTags,
): Promise<ModeldlError> {
  const { host, origin, pathname } = new URL(response.url);
  const url = `${origin}${pathname}`;
  const said = saidIn(body);
  const quoted = said === '' ? '' : `: ${said}`;
  const refused = (code: ErrorCode, message: string, hint: string, page?: string): ModeldlError =>
    new ModeldlError(code, message, { hint, details: { url: page ?? url, status: response.status } });

  if (isPage(response)) return notARegistry(response, name);
  switch (response.status) {
    case 400:
      // How Hugging Face says that it has no such file, or none that it gives to Ollama.
      if (isHuggingFace(name.host)) return notGiven(refused, name, quoted);
      break;
    case 401:
    case 403:
      return unauthorized(refused, response.status, name, host, context);
    case 404:
      return absent(refused, name, host, otherTags);
    case 412:
      return refused(
        'UNSUPPORTED',
        `${host} gives ${idOf(name)} to newer versions of Ollama only${quoted}`,
        'take another tag of it',
        tagsPage(name),
      );
    default:
  }
  return refused('NETWORK', `${host} answered ${response.status}${quoted}: ${url}`, 'try again later');
}

type Refused = (code: ErrorCode, message: string, hint: string, page?: string) => ModeldlError;

async function absent(
  refused: Refused,
  name: Name,
  host: string,
  otherTags: OtherTags,
): Promise<ModeldlError> {
  const { tag = DEFAULT_TAG, ...model } = name;
  const page = tagsPage(name);
  const where = page === undefined ? '' : `: ${page}`;
  const [nearest, ...further] = nearestVersions(tag, await otherTags());
  if (nearest !== undefined) {
    const there = [nearest, ...further]
      .map((other) => `\`ollama:${idOf({ ...model, tag: other })}\``)
      .join(', ');
    return refused(
      'NOT_FOUND',
      `${idOf(model)} has no tag ${tag} at ${host}${where}`,
      `${page === undefined ? '' : 'the page lists its tags; '}there is ${there}`,
      page,
    );
  }
  return refused(
    'NOT_FOUND',
    `There is no model ${idOf(name)} at ${host}, or it is private to others`,
    name.host === undefined
      ? `look for it at https://ollama.com/search?q=${encodeURIComponent(name.model)}, which knows the names; registries list none`
      : 'check its spelling; registries list no names',
    page,
  );
}

function notGiven(refused: Refused, name: Name, quoted: string): ModeldlError {
  const repository = `${name.namespace}/${name.model}`;
  return refused(
    'NOT_FOUND',
    `Hugging Face has no ${idOf(name)} for Ollama${quoted}`,
    `\`hf:${repository}\` takes the files as they are, and \`--quant\` one of its quantizations`,
    tagsPage(name),
  );
}

/** With a key the registry does not know it, or its owner has no access; both are one answer. */
async function unauthorized(
  refused: Refused,
  status: number,
  name: Name,
  host: string,
  context: HubContext,
): Promise<ModeldlError> {
  const file = keyFile(context);
  const hasKey = (await readKey(context)) !== undefined;
  const page = isHuggingFace(name.host) ? 'https://huggingface.co/settings/keys' : KEYS_PAGE;
  // Accounts at ollama.com are of no use at registries of others.
  const isOther = name.host !== undefined && !isHuggingFace(name.host);
  const text = `the text of ${file}.pub`;
  const instead = isHuggingFace(name.host)
    ? `; \`hf:${name.namespace}/${name.model}\` works with a token instead`
    : '';
  const visited = modelPage(name) ?? undefined;
  if (status === 403) {
    return refused(
      'GATED',
      `${host} refuses access to ${idOf(name)}`,
      `ask its owner for access${instead}`,
      visited,
    );
  }
  return hasKey
    ? refused(
        'AUTH',
        `${host} does not accept the key in ${file} for ${idOf(name)}, or there is no such model`,
        isOther
          ? `whoever runs ${host} has to know ${text}`
          : `add ${text} at ${page}, with the account that may have the model${instead}`,
        visited,
      )
    : refused(
        'AUTH',
        `There is no model ${idOf(name)} at ${host}, or it is private: no key in ${file}`,
        `\`ollama serve\` makes one on its first start; ${
          isOther ? `whoever runs ${host} has to know ${text}` : `add ${text} at ${page}${instead}`
        }`,
        visited,
      );
}

/** Does a registry say that it lacks something? */
export function isAbsent(response: Response): boolean {
  return response.status === 404 && !isPage(response);
}

/** Registries say in JSON or plain text what they refuse: pages are of other servers, and of proxies that forbid. */
function isPage(response: Response): boolean {
  const isRefusal = [401, 403, 404].includes(response.status) && !response.headers.has('www-authenticate');
  return isRefusal && /\bx?html\b/i.test(response.headers.get('content-type') ?? '');
}

/** The answer is not what a registry answers: a login page, a captive portal, a wrong endpoint. */
export function notARegistry(response: Response, name: Name): ModeldlError {
  const { origin, pathname } = new URL(response.url);
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const where =
    name.host === undefined ? 'check `hubs.ollama.endpoint`, and' : 'check the host in the reference, and';
  return new ModeldlError(
    'NETWORK',
    `No answer of an Ollama registry for ${idOf(name)} (${response.status}, ${type}): ${origin}${pathname}`,
    {
      hint: `${where} whether a proxy wants a login first`,
      details: { url: `${origin}${pathname}`, status: response.status },
    },
  );
}

/** What came is not what was asked for by its digest. */
export function otherBytes(
  what: string,
  name: Name,
  url: string,
  expected: string,
  got: string,
): ModeldlError {
  return new ModeldlError(
    'INTEGRITY',
    `The ${what} of ${idOf(name)} does not match its digest: expected sha256 ${expected}, got ${got}`,
    { hint: 'the registry or a proxy is broken; nothing was stored', details: { url } },
  );
}

function saidIn(body: string): string {
  const said = v.safeParse(saidSchema, parseJson(body));
  return said.success ? said.output.replace(/\s+/g, ' ').slice(0, MAX_QUOTED) : '';
}
