/** What a terminal acts on in place of showing it. */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** A word as a POSIX shell reads it back: as it is, or quoted. */
export function shellWord(word: string): string {
  // A `=` at the beginning is one of zsh's expansions.
  if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word)) return word;
  if (!UNSHOWN.test(word)) return `'${word.replaceAll("'", `'\\''`)}'`;
  const escaped = word
    .replaceAll(/['\\]/g, (character) => `\\${character}`)
    .replaceAll(new RegExp(UNSHOWN, 'gu'), (character) =>
      // In octal, since a digit of the word may follow: no shell reads more than three.
      [...Buffer.from(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join(''),
    );
  return `$'${escaped}'`;
}
