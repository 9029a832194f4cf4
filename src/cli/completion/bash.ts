/**
 * Lines as bash reads them. Its own words are of no use here: they are cut at every `:`, `@` and `=`, and are as they
 * were typed, so that only running them would tell what they mean. Pure.
 */

export interface BashLine {
  /** After the program's name, without quotes; the last is what the cursor is in. */
  readonly words: readonly string[];
  /** How much of the last word stands before what bash replaces. */
  readonly kept: number;
  /** The quote that is open. */
  readonly quote: '' | "'" | '"';
  /** The cursor is in what stands behind a `<` or `>`: a file, which is no word of the command. */
  readonly redirected?: true;
}

/** @param given the signs that break words (`COMP_WORDBREAKS`), and the command's line up to the cursor */
export function readBash([breaks = '', line = '']: readonly string[]): BashLine {
  const words: string[] = [];
  let word: string | undefined;
  let kept = 0;
  let quote: BashLine['quote'] = '';
  let redirected = false;
  const endWord = (): void => {
    if (word === undefined) return;
    if (!redirected) words.push(word);
    redirected = false;
    word = undefined;
  };
  for (let at = 0; at < line.length; at += 1) {
    const sign = line[at] ?? '';
    const next = line[at + 1] ?? '';
    if (quote === '' && /[ \t\n]/.test(sign)) {
      endWord();
      kept = 0;
    } else if (quote === '' && /[<>]/.test(sign)) {
      // What is redirected may stand before it: `2>`, `&>`.
      if (/^(\d+|&)$/.test(word ?? '')) word = undefined;
      endWord();
      redirected = true;
    } else if (sign === quote) {
      quote = '';
      kept = word?.length ?? 0;
    } else if (quote === '' && (sign === '"' || sign === "'")) {
      quote = sign;
      word ??= '';
      kept = word.length;
    } else if (sign === '\\' && quote !== "'" && (quote === '' || /["$`\\]/.test(next))) {
      word = `${word ?? ''}${next}`;
      at += 1;
    } else {
      word = `${word ?? ''}${sign}`;
      // Readline hands on an `@` with what it begins, as that of a host; every other sign stays as it is.
      if (quote === '' && breaks.includes(sign)) kept = word.length - (sign === '@' ? 1 : 0);
    }
  }
  words.push(word ?? '');
  return { words: words.slice(1), kept, quote, ...(redirected ? { redirected } : {}) };
}

/** What bash puts in place of the last word, or of what stands behind the sign that broke it: nothing is left to expand. */
export function writeBash(value: string, { kept, quote }: Pick<BashLine, 'kept' | 'quote'>): string {
  const rest = value.slice(kept);
  if (quote === "'") return rest.replaceAll("'", `'\\''`);
  // History is expanded within double quotes too, whatever stands before its sign.
  if (quote === '"') return rest.replace(/["$`\\]/g, '\\$&').replaceAll('!', `"'!'"`);
  return rest.replace(/[^\p{L}\p{N}_%+=:,./@-]/gu, '\\$&');
}
