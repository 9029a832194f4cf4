/** How weights of Ultralytics are written as references: names, and pasted addresses of release assets. Pure. */
import {
  decodePart,
  formatStandard,
  malformed,
  parseStandard,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';
import { ASSETS, PUBLIC_ENDPOINT } from './endpoint.js';

/** Files that are models; a name without one of these endings means a `.pt`. */
const MODEL = /\.(pt|ts|onnx)$/i;

export const syntax = {
  hub: 'ultralytics',
  schemes: ['ultralytics'],
  parse(rest) {
    const text = `ultralytics:${rest}`;
    const { id, ...parts } = parseStandard(rest, text);
    return checked({ ...parts, id: withoutEnding(id) }, text);
  },
  format: (parts) => formatStandard('ultralytics', parts),
  fromWebAddress,
} as const satisfies ReferenceSyntax;

/** The asset that holds these weights. */
export function assetOf(id: string): string {
  return MODEL.test(id) ? id : `${id}.pt`;
}

/** Ids of `.pt` files are written without it. */
export function withoutEnding(asset: string): string {
  return asset.replace(/\.pt$/i, '');
}

/** @throws ModeldlError USAGE for what could be no asset and no tag: neither is put into an address */
export function checked(parts: ReferenceParts, text: string): ReferenceParts {
  const hint =
    'write `ultralytics:yolo11n`, or `ultralytics:yolo11n@v8.3.0` for a release; other files are taken by their path';
  if (!/^\w[\w.-]*$/.test(parts.id)) throw malformed(text, `\`${parts.id}\` is no name of weights`, hint);
  const { revision } = parts;
  if (revision !== undefined && !/^\w[\w.+-]*(\/\w[\w.+-]*)*$/.test(revision))
    throw malformed(text, `\`${revision}\` is no tag of a release`, hint);
  return parts;
}

/** An asset's address on a release's page. With a query or digest it is more than a name, and stays an address. */
function fromWebAddress(address: URL, endpoint = PUBLIC_ENDPOINT): ReferenceParts | undefined {
  const { host, pathname, search, hash } = address;
  const base = [endpoint, PUBLIC_ENDPOINT].map((text) => new URL(text)).find((known) => known.host === host);
  if (base === undefined || search !== '' || hash !== '') return undefined;
  const releases = `${base.pathname.replace(/\/+$/, '')}/${ASSETS}/releases/`;
  if (!pathname.startsWith(releases)) return undefined;
  const [, tag, asset = ''] =
    /^(?:download\/(.+)|latest\/download)\/([^/]+)$/.exec(pathname.slice(releases.length)) ?? [];
  if (!MODEL.test(asset)) return undefined;
  const parts = { id: withoutEnding(decodePart(asset)) };
  return checked(tag === undefined ? parts : { ...parts, revision: decodePart(tag) }, address.href);
}
