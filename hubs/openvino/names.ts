/** What names of the organisation OpenVINO say: `<model>-<precision>-ov`, `<model>-int4-cw-ov` for the NPU. Pure. */
import { prebuiltIds } from '../hf/prebuilt.js';

export const ORGANISATION = 'OpenVINO';

/** The id on Hugging Face. */
export function fullId(id: string): string {
  return `${ORGANISATION}/${id}`;
}

/** The short name of an id on Hugging Face; undefined for one of others. */
export function shortId(id: string): string | undefined {
  const start = `${ORGANISATION}/`;
  return id.toLowerCase().startsWith(start.toLowerCase()) ? id.slice(start.length) : undefined;
}

export interface PublishedName {
  /** The model that was converted. */
  readonly base: string;
  /** `int8`, `int4`, `int4-cw`: with `-cw` weights are compressed by channel, as the NPU needs it. */
  readonly kind: string;
}

/** Undefined where the name says no precision. */
export function readName(id: string): PublishedName | undefined {
  const [, base, kind] = /^(.+)-((?:fp32|fp16|int8|int4|nf4|mxfp4)(?:-cw)?)-ov$/.exec(id) ?? [];
  return base === undefined || kind === undefined ? undefined : { base, kind };
}

/** Where the conversion of a name is: itself, when it is one, else its precisions. */
export function publishedIds(
  id: string,
  wanted: { readonly precision: string; readonly device: string },
): readonly string[] {
  if (id.endsWith('-ov')) return [id];
  return prebuiltIds(id, wanted).flatMap((known) => shortId(known) ?? []);
}
