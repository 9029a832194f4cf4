/** The page of a project in a Python package index: JSON (PEP 691) or HTML (PEP 503). Pure. */
import * as v from 'valibot';
import type { Digest } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { fileAddress, type Document } from '../package-index.js';

/** What the page says of one file. */
export interface IndexFile {
  readonly filename: string;
  readonly url: string;
  readonly query?: string;
  readonly digest?: Digest;
  readonly size?: number;
  /** Withdrawn by its author; the reason, or an empty text. */
  readonly yanked?: string;
  /** Its metadata is at the same address with `.metadata` (PEP 658), with this digest if one is given. */
  readonly metadata?: { readonly sha256?: string };
}

/** JSON first, HTML as the fall-back that every index has: PEP 691. */
export const ACCEPT =
  'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01';

const offered = v.nullish(v.union([v.boolean(), v.record(v.string(), v.string())]));
const pageSchema = v.object({
  meta: v.object({ 'api-version': v.pipe(v.string(), v.regex(/^1\./)) }),
  files: v.array(
    v.object({
      filename: v.string(),
      url: v.string(),
      hashes: v.record(v.string(), v.string()),
      size: v.nullish(v.number()),
      yanked: v.nullish(v.union([v.boolean(), v.string()])),
      'core-metadata': offered,
      'dist-info-metadata': offered,
    }),
  ),
});

/** The files of a page; undefined when it is no page of an index. @throws ModeldlError INTEGRITY for unsafe addresses */
export async function readPage(document: Document): Promise<readonly IndexFile[] | undefined> {
  return /[/+]json$/.test(document.contentType) ? readJsonPage(document) : readHtmlPage(document);
}

function readJsonPage(document: Document): readonly IndexFile[] | undefined {
  const page = v.safeParse(pageSchema, parseJson(document.text));
  if (!page.success) return undefined;
  return page.output.files.map((file) => {
    const digest = strongest(file.hashes);
    const metadata = offeredMetadata(file['core-metadata'] ?? file['dist-info-metadata']);
    return {
      filename: file.filename,
      ...fileAddress(file.url, document.url),
      ...(digest === undefined ? {} : { digest }),
      ...(typeof file.size === 'number' ? { size: file.size } : {}),
      ...yankedBy(file.yanked),
      ...(metadata === undefined ? {} : { metadata }),
    };
  });
}

async function readHtmlPage(document: Document): Promise<readonly IndexFile[] | undefined> {
  // Most indexes answer JSON, and most commands ask no index at all.
  const { Parser } = await import('htmlparser2');
  const files: IndexFile[] = [];
  let base = document.url;
  const seen = { index: false };
  const parser = new Parser({
    onopentag(name, attributes) {
      const { href } = attributes;
      if (name === 'base' && href !== undefined && URL.canParse(href, base.href)) base = new URL(href, base);
      if (name === 'meta' && attributes['name'] === 'pypi:repository-version') seen.index = true;
      if (name !== 'a' || href === undefined || !URL.canParse(href, base.href)) return;
      const target = new URL(href, base);
      const filename = decodeName(target.pathname);
      if (!/\.(whl|tar\.gz|zip|tar\.bz2|egg|exe)$/.test(filename)) return;
      seen.index = true;
      const [, algorithm, hex] = /^#(\w+)=([0-9a-fA-F]+)$/.exec(target.hash) ?? [];
      const digest =
        algorithm === undefined || hex === undefined ? undefined : strongest({ [algorithm]: hex });
      const attribute = attributes['data-core-metadata'] ?? attributes['data-dist-info-metadata'];
      const sha256 = /^sha256=([0-9a-f]{64})$/.exec(attribute ?? '')?.[1];
      files.push({
        filename,
        ...fileAddress(target.href, document.url),
        ...(digest === undefined ? {} : { digest }),
        ...yankedBy(attributes['data-yanked']),
        ...(attribute === undefined ? {} : { metadata: sha256 === undefined ? {} : { sha256 } }),
      });
    },
  });
  parser.end(document.text);
  return seen.index ? files : undefined;
}

function decodeName(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** Hex digits of the digests that are taken, strongest first. */
const HEX_DIGITS = [
  ['sha512', 128],
  ['sha384', 96],
  ['sha256', 64],
  ['sha1', 40],
] as const;

/** sha256 when there is one: it is what blobs are stored under, so a stored one need not be fetched. */
function strongest(hashes: Readonly<Record<string, string>>): Digest | undefined {
  const known = HEX_DIGITS.flatMap(([algorithm, digits]) => {
    const hex = hashes[algorithm]?.toLowerCase();
    return hex !== undefined && hex.length === digits && /^[0-9a-f]+$/.test(hex) ? [{ algorithm, hex }] : [];
  });
  return known.find(({ algorithm }) => algorithm === 'sha256') ?? known[0];
}

function yankedBy(value: boolean | string | null | undefined): { yanked?: string } {
  if (typeof value === 'string') return { yanked: value };
  return value === true ? { yanked: '' } : {};
}

function offeredMetadata(value: v.InferOutput<typeof offered> | undefined): { sha256?: string } | undefined {
  if (value === true) return {};
  if (!value) return undefined;
  return value['sha256'] === undefined ? {} : { sha256: value['sha256'] };
}
