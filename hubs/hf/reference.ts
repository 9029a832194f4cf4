/** How Hugging Face models are written as references: names, `hf://` paths, pasted web addresses. Pure. */
import {
  cleanSubpath,
  decodePart,
  formatStandard,
  malformed,
  parseStandard,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';

/** Hosts of the public hub. */
const PUBLIC_HOSTS = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co']);

/** First segments of ids and pages that hold something else than models, with the word for it. */
const NOT_MODELS: Readonly<Record<string, string>> = {
  datasets: 'a dataset',
  spaces: 'a space',
  kernels: 'a kernel',
  buckets: 'a bucket',
  collections: 'a collection',
  papers: 'a paper',
  docs: 'a documentation page',
  blog: 'a blog page',
  api: 'an address of the API',
  models: 'a list of models',
};

/** The web pages of a model that name a revision and what lies below it. */
const LOCATION_PAGES = new Set(['tree', 'blob', 'resolve', 'raw', 'blame']);

/** Revisions with slashes that the hub itself makes, so that they are read as one without asking it. */
const SPECIAL_REVISION = /^refs\/(?:pr\/\d+|convert\/[\w.-]+)(?=\/|$)/;

export const syntax = {
  hub: 'hf',
  schemes: ['hf'],
  bareNames: true,
  parse: (rest) => {
    const text = `hf:${rest}`;
    const parts = rest.startsWith('//') ? parsePath(rest.slice(2), text) : parseStandard(rest, text);
    checkParts(parts, text);
    return parts;
  },
  format: (parts) => formatStandard('hf', parts),
  fromWebAddress,
} as const satisfies ReferenceSyntax;

/**
 * The rules for a model's name and revision, as the hub has them (`validate_repo_id` of huggingface_hub).
 * @throws ModeldlError USAGE
 */
export function checkParts({ id, revision }: ReferenceParts, text: string): void {
  const segments = id.split('/');
  const kind = NOT_MODELS[segments[0] ?? ''];
  if (kind !== undefined && segments.length > 1) {
    throw malformed(text, `it names ${kind}, and modeldl pulls models`);
  }
  if (segments.length > 2) {
    const [owner = '', name = '', ...rest] = segments;
    throw malformed(
      text,
      `a model is \`name\` or \`org/name\``,
      `did you mean \`${formatStandard('hf', { id: `${owner}/${name}`, subpath: rest.join('/') })}\``,
    );
  }
  const tagged = /^([^:]+):([^:/]+)$/.exec(id);
  if (tagged?.[1] !== undefined && isModelId(tagged[1])) {
    throw malformed(
      text,
      'names hold no `:`',
      `a revision is written \`hf:${tagged[1]}@${tagged[2]}\`, a quantization \`hf:${tagged[1]} --quant ${tagged[2]}\``,
    );
  }
  if (!isModelId(id)) {
    throw malformed(
      text,
      `\`${id}\` is no name of a model`,
      'names are `name` or `org/name` of letters, digits, `-`, `_` and `.`, without `--` and `..`',
    );
  }
  if (revision !== undefined && !isRevision(revision)) {
    throw malformed(
      text,
      `\`${revision}\` is no revision`,
      'a revision is a branch, tag, commit or `refs/pr/N`',
    );
  }
}

/** Is this `name` or `org/name` by the hub's rules? */
export function isModelId(id: string): boolean {
  return (
    /^(?:\w(?:[\w.-]{0,94}\w)?\/)?\w(?:[\w.-]{0,94}\w)?$/.test(id) &&
    !id.includes('--') &&
    !id.includes('..') &&
    !id.endsWith('.git')
  );
}

/** Could git have a reference or commit of this name? What it cannot have is never put into an address. */
function isRevision(revision: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return !/[\u0000-\u0020\u007f~^:?*[\\]|\.\.|\/\/|^[./]|[./]$|@\{/.test(revision);
}

/** `org/name[@revision][/path]`, as `hf://` is written elsewhere; `//` before the path is understood too. */
function parsePath(path: string, text: string): ReferenceParts {
  const [first = '', second, ...below] = path.split('/');
  if (second === undefined || first.includes('@') || second === '') return parseStandard(path, text);
  const at = second.indexOf('@');
  const tail = at < 0 ? undefined : [second.slice(at + 1), ...below].join('/');
  if (tail === undefined) return withPlace(`${first}/${second}`, undefined, below.join('/'), text);
  const { revision, subpath, open } = splitRevision(tail);
  return withPlace(`${first}/${second.slice(0, at)}`, revision, subpath, text, open);
}

/** Divides `revision/path`: a revision is one segment, or one of the hub's own with slashes. */
function splitRevision(text: string): { readonly revision: string; readonly subpath: string; open: boolean } {
  const special = SPECIAL_REVISION.exec(text)?.[0];
  const revision = special ?? text.split('/', 1)[0] ?? '';
  const open =
    special === undefined && !decodePart(revision).includes('/') && !/^[0-9a-f]{40}$/.test(revision);
  return { revision, subpath: text.slice(revision.length + 1), open };
}

function withPlace(
  id: string,
  revision: string | undefined,
  subpath: string,
  text: string,
  open = false,
): ReferenceParts {
  const path = subpath.replace(/^\//, '').replace(/\/$/, '');
  if (revision === '') throw malformed(text, 'the revision is empty');
  return {
    id: decodePart(id),
    ...(revision === undefined ? {} : { revision: decodePart(revision) }),
    ...(path === '' ? {} : { subpath: cleanSubpath(path, text) }),
    // `//` says where the subpath begins.
    ...(open && path !== '' && !subpath.startsWith('/') ? { openRevision: true } : {}),
  };
}

/**
 * A pasted address of a model, of a folder or of a file in it.
 * @param endpoint the configured endpoint, whose pages are understood as well
 * @throws ModeldlError USAGE for other pages of these hosts
 */
function fromWebAddress(address: URL, endpoint?: string): ReferenceParts | undefined {
  const path = pathOnHub(address, endpoint);
  if (path === undefined) return undefined;
  const text = `${address.origin}${address.pathname}`;
  if (address.username !== '' || address.password !== '') {
    throw malformed(text, 'it holds a user name or password', 'log in with `modeldl login hf`');
  }
  const segments = path.split('/').filter((segment) => segment !== '');
  const kind = NOT_MODELS[segments[0] ?? ''];
  if (kind !== undefined) throw malformed(text, `it is ${kind}, and modeldl pulls models`);
  const [first, second] = segments;
  if (first === undefined) throw malformed(text, 'it names no model', 'a model is `org/name`');
  const single = second === undefined || LOCATION_PAGES.has(second);
  const id = single ? first : `${first}/${second}`;
  const [page, ...place] = segments.slice(single ? 1 : 2);
  if (page !== undefined && (!LOCATION_PAGES.has(page) || place.length === 0)) {
    throw malformed(
      text,
      'it is no page of a model, folder or file',
      `the model itself is \`hf:${decodePart(id)}\``,
    );
  }
  const { revision, subpath, open } =
    page === undefined ? { revision: undefined, subpath: '', open: false } : splitRevision(place.join('/'));
  const parts = withPlace(id, revision, subpath, text, open);
  checkParts(parts, text);
  return parts;
}

/** The path below the hub's root, when the address is on the public hub or on the configured endpoint. */
function pathOnHub(address: URL, endpoint: string | undefined): string | undefined {
  if (!/^https?:$/.test(address.protocol)) return undefined;
  if (PUBLIC_HOSTS.has(address.hostname)) return address.pathname;
  if (endpoint === undefined || !URL.canParse(endpoint)) return undefined;
  const root = new URL(endpoint);
  const prefix = root.pathname.replace(/\/+$/, '');
  const inside = address.pathname === prefix || address.pathname.startsWith(`${prefix}/`);
  return address.origin === root.origin && inside ? address.pathname.slice(prefix.length) : undefined;
}
