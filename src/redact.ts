/** Secrets leave the program nowhere: the one place that takes them out of addresses and texts. */

const REDACTED = '***';

/** An address for messages and records: without user information and query, either of which may be a key to it. */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return url;
  const parsed = new URL(url);
  parsed.username = '';
  parsed.password = '';
  parsed.search = '';
  return parsed.href;
}

/**
 * What a user typed, as results and errors repeat it: a web address loses what `redactUrl` takes, and so does what looks
 * like one but cannot be read, such as a misspelt one.
 */
export function redactReference(text: string): string {
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) return redactUrl(text);
  if (!text.includes('://')) return text;
  return text.replace(/\?[^#]*/, '').replace(/(:\/\/)[^/]*@/, '$1');
}

/**
 * Control characters as text: names and messages from elsewhere must not move the cursor, colour or clear a terminal, or
 * turn what follows around. Line ends and tabs stay.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (character) => {
    if (character === '\n' || character === '\t') return character;
    const hex = character.charCodeAt(0).toString(16);
    return hex.length > 2 ? `\\u${hex.padStart(4, '0')}` : `\\x${hex.padStart(2, '0')}`;
  });
}

/** Characters that a pattern finds, as text: `\u{200b}`. */
export function asCodePoints(text: string, found: RegExp): string {
  return text.replace(found, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** Token shapes of the hubs, so that one which slipped into a text from outside is caught as well. */
const TOKEN_SHAPES =
  /\b(hf_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{16,}|pypi-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,})\b/g;

/** Names of what a query or a header holds, when that is a secret; who wrote something is none. */
const TELLING_NAME = /auth(?!or$)|cookie|credential|key|pass|secret|sig|token/i;
/** Shorter ones are words of every text as well. */
const SHORTEST_SECRET = 6;

/** What an address, which may lack its scheme as those of proxies do, and headers hold of secrets, also as written in an address. */
export function secretsIn(
  address: string,
  headers: Readonly<Record<string, string>> = {},
): readonly string[] {
  const [, login = ''] = /^(?:[a-z][a-z0-9+.-]*:\/\/)?([^\s/?#]*)@/i.exec(address) ?? [];
  const query = (/\?([^#]*)/.exec(address)?.[1] ?? '')
    .split('&')
    .map((pair) => /^([^=]*)=(.*)$/.exec(pair) ?? []);
  const found = [
    login.replace(/^[^:]*:/, ''),
    ...query.flatMap(([, name = '', value = '']) => (TELLING_NAME.test(name) ? [value] : [])),
    ...Object.entries(headers).flatMap(([name, value]) =>
      TELLING_NAME.test(name) ? secretsOfHeader(value) : [],
    ),
  ];
  const forms = found.flatMap((secret) => [secret, decoded(secret), encodeURIComponent(decoded(secret))]);
  return [...new Set(forms)].filter(({ length }) => length >= SHORTEST_SECRET);
}

function secretsOfHeader(value: string): readonly string[] {
  const [, scheme = '', token = value] = /^(Bearer|Basic) +(.*)$/i.exec(value) ?? [];
  if (!/^basic$/i.test(scheme)) return [token];
  return [
    token,
    Buffer.from(token, 'base64')
      .toString('utf8')
      .replace(/^[^:]*:/, ''),
  ];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Replaces the given secrets, whatever looks like a hub's token, and user information in addresses. */
export function redactSecrets(text: string, secrets: Iterable<string> = []): string {
  let clean = text;
  // Longest first: one may be a part of another.
  const known = [...secrets].filter(({ length }) => length >= 4).sort((a, b) => b.length - a.length);
  for (const secret of known) clean = clean.replaceAll(secret, REDACTED);
  return clean
    .replace(TOKEN_SHAPES, REDACTED)
    .replace(/\b(https?:\/\/)[^\s/?#]*@/g, '$1')
    .replace(/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/g, `$1 ${REDACTED}`)
    .replace(
      /([?&](?:[\w-]*(?:Signature|Credential|Token)|Policy|Key-Pair-Id|sig)=)[^&\s"'`]+/gi,
      `$1${REDACTED}`,
    );
}

/** Names, which scripts use as they are: one may look like a token by chance, and none of them is talk. */
const NAMES = new Set(['path', 'file', 'reference', 'archive']);

/** {@link redactSecrets} for every text of a document but its names. */
export function redactDocument(document: unknown, secrets: Iterable<string> = []): unknown {
  if (typeof document === 'string') return redactSecrets(document, secrets);
  if (Array.isArray(document)) return document.map((item) => redactDocument(item, secrets));
  if (typeof document !== 'object' || document === null) return document;
  return Object.fromEntries(
    Object.entries(document).map(([key, value]: [string, unknown]) => [
      key,
      NAMES.has(key) && typeof value === 'string' ? value : redactDocument(value, secrets),
    ]),
  );
}
