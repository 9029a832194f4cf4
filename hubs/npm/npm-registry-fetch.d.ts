/** What the published types of npm's registry client lack. */
import 'npm-registry-fetch';

// eslint-disable-next-line no-restricted-syntax -- how types are added to a module
declare module 'npm-registry-fetch' {
  /** The credential that npm's configuration holds for an address: a bearer token, or the text of `Basic`. */
  function getAuth(
    address: string,
    options: object,
  ): { readonly token: string | null; readonly auth: string | null };
}
