/** What a registry asks for when it refuses a request: the text of `WWW-Authenticate` (RFC 9110, section 11.6.1). Pure. */

/** A token is to be had at the realm. (distribution, "Token Authentication Specification") */
export interface BearerChallenge {
  readonly realm: URL;
  readonly service: string | undefined;
  /** `repository:org/model:pull`; empty where the registry names none. */
  readonly scopes: readonly string[];
}

/** The challenge for a token; undefined where there is none, or its realm is no plain web address. */
export function bearerChallenge(header: string): BearerChallenge | undefined {
  const parameters = /(?:^|,\s*)bearer\s+(.*)$/is.exec(header.trim())?.[1];
  if (parameters === undefined) return undefined;
  const named = new Map<string, string>();
  for (const [, name = '', quoted, plain] of parameters.matchAll(
    /([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi,
  )) {
    // Another challenge may follow, with parameters of the same names.
    const key = name.toLowerCase();
    if (!named.has(key)) named.set(key, quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
  }
  const address = named.get('realm') ?? '';
  const realm = URL.canParse(address) ? new URL(address) : undefined;
  if (realm === undefined || !/^https?:$/.test(realm.protocol)) return undefined;
  if (realm.username !== '' || realm.password !== '') return undefined;
  const scopes = (named.get('scope') ?? '').split(' ').filter((scope) => scope !== '');
  return { realm, service: named.get('service'), scopes };
}

/** A user's name and password are wanted as they are. */
export function wantsPassword(header: string): boolean {
  return /(?:^|,\s*)basic\b/i.test(header);
}
