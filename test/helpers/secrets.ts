/** Looking for secrets where none may be: in texts, files and requests, as they are and encoded. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

/** Where something was found or looked for, and what is there. */
export interface Place {
  readonly name: string;
  readonly content: string;
}

/** A secret as it is, URL-encoded, in JSON, hexadecimal, and what base64 makes of it at any place in a longer text. */
export function formsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const encoded = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // Without the characters that bits from before and after have a part in.
    return text.slice(offset === 0 ? 0 : offset + 1, -1);
  });
  return [
    secret,
    encodeURIComponent(secret),
    encodeURI(secret),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString('hex'),
    ...encoded,
    ...encoded.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
  ];
}

/** Fails with the places that hold one of the secrets in any form. */
export function expectNowhere(secrets: readonly string[], places: readonly Place[]): void {
  const forms = [...new Set(secrets.flatMap(formsOf))];
  const hits = places.flatMap(({ name, content }) =>
    forms
      .filter((form) => content.toLowerCase().includes(form.toLowerCase()))
      .map((form) => {
        const at = content.toLowerCase().indexOf(form.toLowerCase());
        return `${name}: ${content.slice(Math.max(0, at - 80), at + form.length + 20)}`;
      }),
  );
  expect(hits).toEqual([]);
}

/** Every file below a directory, names included, but those whose path ends like one of `except`. */
export async function filesBelow(directory: string, except: readonly string[]): Promise<readonly Place[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const places: Place[] = [];
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (except.some((end) => path.endsWith(end))) continue;
    const content = entry.isFile() ? (await readFile(path)).toString('latin1') : '';
    places.push({ name: path, content: `${path}\n${content}` });
  }
  return places;
}

/** Requests as far as a server sees them. */
export function requestsOf(
  name: string,
  requests: readonly { readonly url: string; readonly headers: object }[],
): readonly Place[] {
  return requests.map(({ url, headers }) => ({
    name: `a request to ${name}`,
    content: `${url}\n${JSON.stringify(headers)}`,
  }));
}
