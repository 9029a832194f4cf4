/** Which licence a text is: what a model's page would say, for texts that begin like a known one. Pure. */

/** By Hugging Face's identifiers, which are SPDX's where that has one. */
const BEGINNINGS: readonly (readonly [RegExp, string])[] = [
  [/^apache license,? version 2\.0/, 'apache-2.0'],
  [/^(the )?mit license/, 'mit'],
  [/^llama 2 community license/, 'llama2'],
  [/^meta llama 3 community license/, 'llama3'],
  [/^llama 3\.1 community license/, 'llama3.1'],
  [/^llama 3\.2 community license/, 'llama3.2'],
  [/^llama 3\.3 community license/, 'llama3.3'],
  [/^gemma terms of use/, 'gemma'],
];

/** Undefined for one that is not known, and for several that differ. */
export function licenseOf(texts: readonly string[]): string | undefined {
  const names = new Set(
    texts.map((text) => {
      const words = text
        .slice(0, 400)
        .toLowerCase()
        .replace(/[^a-z0-9.,]+/g, ' ')
        .trim();
      return BEGINNINGS.find(([beginning]) => beginning.test(words))?.[1];
    }),
  );
  // A policy beside a licence is known by no name.
  names.delete(undefined);
  const [only] = names;
  return names.size === 1 ? only : undefined;
}
