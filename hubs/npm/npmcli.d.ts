/** The parts of npm's configuration library that are used here; no published types describe them. */
/* eslint-disable no-restricted-syntax -- how a module without types is described */
declare module '@npmcli/config' {
  interface Definitions {
    readonly definitions: object;
    readonly shorthands: object;
    readonly nerfDarts: readonly string[];
    flatten(object: object, flat: object): object;
  }

  export default class Config {
    constructor(
      options: Definitions & {
        readonly npmPath: string;
        readonly env: Record<string, string>;
        readonly argv: readonly string[];
        readonly cwd: string;
        readonly warn: boolean;
      },
    );
    load(): Promise<void>;
    /** Options by the names that npm's libraries take; `@scope:registry` and `//host/path:_authToken` are among them. */
    readonly flat: object;
  }
}

declare module '@npmcli/config/lib/definitions/index.js' {
  import type { Definitions } from '@npmcli/config';
  const definitions: Definitions;
  export default definitions;
}
