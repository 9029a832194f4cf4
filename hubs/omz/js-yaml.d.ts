/** The parts of js-yaml that are used here; it comes without types. */
/* eslint-disable no-restricted-syntax -- how a module without types is described */
declare module 'js-yaml' {
  /** YAML's JSON-like types only: no dates, no merging of keys. */
  export const CORE_SCHEMA: object;
  /** @throws an Error with `reason` and `mark` */
  export function load(text: string, options: { readonly schema: object }): unknown;
}
