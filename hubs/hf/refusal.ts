/** What a refusal of the hub means: its error code decides, then the status. */
import * as v from 'valibot';
import { ModeldlError, throwIfAborted, type ErrorCode } from '../../src/errors.js';
import type { Credential, HubContext } from '../../src/hub.js';
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
  /** Branches, tags and other references of the model; asked when a revision is unknown. */
  refs?(): Promise<KnownRefs>;
}

export interface KnownRefs {
  readonly branches: readonly string[];
  readonly tags: readonly string[];
}

/** Tokens are made on this page of the endpoint. */
export const TOKEN_PAGE = '/settings/tokens';

const errorBody = v.object({ error: v.union([v.string(), v.array(v.string())]) });

/** The error that a refused request stands for; `body` is its answer as far as it was text. */
export async function refusal(
  response: Response,
  body: string,
  asked: Asked,
  context: HubContext,
): Promise<ModeldlError> {
  const url = addressOf(response);
  const code = response.headers.get('x-error-code');
  if (code === null && isWebPage(response)) return notAHub(response, asked);
  const said = saidBy(response, body);
  const credential = await context.credential(asked.endpoint);
  const requestId = response.headers.get('x-request-id') ?? response.headers.get('x-amzn-trace-id');
  const refused = new Refused(asked, credential, {
    url,
    status: response.status,
    ...(requestId === null ? {} : { requestId }),
    ...(credential === undefined ? {} : { tokenSource: credential.source }),
  });
  if (code === 'RevisionNotFound') return revisionNotFound(refused, context);
  if (code === 'GatedRepo') return gated(refused);
  if (/access to this resource is disabled/i.test(said)) return disabled(refused);
  switch (response.status) {
    case 401:
      return credential === undefined ? anonymous(refused) : wrongToken(refused, credential, said);
    case 403:
      return refused.because(
        'AUTH',
        `${HUB} refuses access to ${refused.what}${quoted(said)}`,
        refused.access(),
      );
    case 404:
    case 410:
      return notFound(refused);
    case 429:
      return refused.because(
        'NETWORK',
        `${HUB} takes no more requests for now: ${url}`,
        credential === undefined
          ? 'wait some minutes; `modeldl login hf` raises the limit'
          : 'wait some minutes, and pull fewer models at once',
      );
    default:
      return refused.because(
        'NETWORK',
        `${HUB} answered ${response.status}${quoted(said)}: ${url}`,
        'try again later',
      );
  }
}

/** The answer is no JSON of a hub: a login page, a captive portal, a wrong endpoint. */
export function notAHub(response: Response, asked: Asked): ModeldlError {
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const url = addressOf(response);
  return new ModeldlError(
    'NETWORK',
    `No answer of a Hugging Face hub (${response.status}, ${type}): ${url}`,
    {
      hint: `check the endpoint ${asked.endpoint} (\`HF_ENDPOINT\` or \`hubs.hf.endpoint\`), and whether a proxy wants a login first`,
      details: { url, status: response.status },
    },
  );
}
