/** Command lines of modeldl in shell text, as lists of words: what pipes, redirections and comments leave of them. */

/** Each `modeldl …` at the place of a command, also behind `npx` or within `$(…)`. */
export function commandsIn(text: string): readonly (readonly string[])[] {
  const joined = text.replace(/\\\n\s*/g, ' ');
  const starts = [...joined.matchAll(/(?:^|[\s(])(?:npx )?modeldl (?=[^\s#])/gm)];
  return starts.flatMap(({ index, 0: { length } }) => {
    // Neither talk about a command begins one, `modeldl at …`, nor the name of an image: `-t modeldl .`.
    const before = joined.slice(joined.lastIndexOf('\n', index) + 1, index);
    if (/#|-t *$/.test(before)) return [];
    return [wordsOf(joined.slice(index + length))];
  });
}

/** Words up to the end of a command. A `$(…)` is one that nothing is known of, so it stands for a reference. */
export function wordsOf(text: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at] ?? '';
    if (quote === '' && /[\n|&;()]/.test(sign)) break;
    if (quote === '' && sign === '#' && word === undefined) break;
    if (quote === '' && (sign === '<' || sign === '>') && /^[<>]>? ?[\w./~"$]/.test(text.slice(at))) {
      if (!/^<[a-z]+>/.test(text.slice(at))) break;
    }
    if (quote !== "'" && text.startsWith('$(', at)) {
      word = `${word ?? ''}hf:org/name`;
      at = text.indexOf(')', at);
      if (at < 0) break;
    } else if (sign === quote) quote = '';
    else if (quote === '' && (sign === '"' || sign === "'")) {
      quote = sign;
      word ??= '';
    } else if (quote === '' && /\s/.test(sign)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = `${word ?? ''}${sign}`;
  }
  if (word !== undefined) words.push(word);
  return words;
}
