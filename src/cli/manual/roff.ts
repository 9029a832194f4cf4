/** Manual pages in roff's `man` macros, as groff and mandoc both read them. */

/**
 * Characters that roff reads as something else, or sets as another one than can be searched, copied and typed: hyphens,
 * quotes, carets and tildes become typographic signs (`groff_char(7)`).
 */
const SIGNS: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '"': '\\(dq',
  '^': '\\(ha',
  '~': '\\(ti',
  '…': '...',
};

/** Text as it is. Beyond ASCII it is named by code points, whatever encoding the page is read with. */
export function verbatim(text: string): string {
  return text.replace(/[\\\-'`"^~…]|[^\n\x20-\x7e]/gu, (sign) => SIGNS[sign] ?? codePoint(sign));
}

/** What a line begins with might be a request; quotes, which might be too, are escaped everywhere. */
function asLines(text: string): string {
  return text.replace(/^(?=\.)/gm, '\\&');
}

/** `\[u…]` takes four to six upper-case hex digits. */
function codePoint(sign: string): string {
  return `\\[u${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`;
}

export function bold(text: string): string {
  return `\\fB${verbatim(text)}\\fR`;
}

/** What stands for something else, as `<dir>` does in a help. */
export function italic(text: string): string {
  return `\\fI${verbatim(text)}\\fR`;
}

/** Text of a help: what stands between backticks is typed, so it is bold. */
export function prose(text: string): string {
  return text
    .split(/(`[^`\n]+`)/)
    .map((part, at) => (at % 2 === 1 ? bold(part.slice(1, -1)) : verbatim(part)))
    .join('');
}

/** Options and values as a help declares them: `-o, --output <dir>`. */
export function term(text: string): string {
  return text
    .split(/(<[^>]+>)/)
    .map((part, at) => {
      if (at % 2 === 1) return italic(part.slice(1, -1));
      return part.replace(/[^\s,]+|[\s,]+/g, (word) => (/^[\s,]/.test(word) ? verbatim(word) : bold(word)));
    })
    .join('');
}

/** The page begins with it. Commands are not hyphenated, since they are copied, and so not stretched. */
export function title(name: string, source: string): string {
  // No date: two builds of a version are the same bytes.
  return `.TH ${verbatim(name.toUpperCase())} 1 "" "${verbatim(source)}" "User Commands"\n.nh\n.ad l`;
}

export function section(name: string, ...blocks: readonly string[]): string {
  return headed(`.SH ${verbatim(name)}`, blocks);
}

export function subsection(name: string, ...blocks: readonly string[]): string {
  return headed(`.SS ${verbatim(name)}`, blocks);
}

/** A heading begins a paragraph already. */
function headed(heading: string, blocks: readonly string[]): string {
  return [heading, blocks.join('\n').replace(/^\.PP\n/, '')].join('\n');
}

/** @param text already in roff, as all that follows */
export function paragraph(text: string): string {
  return `.PP\n${asLines(text)}`;
}

export function definitions(items: readonly (readonly [what: string, text: string])[]): string {
  return items.map(([what, text]) => `.TP\n${asLines(what)}\n${asLines(text)}`).join('\n');
}

/** Plain lines that are kept as they are, indented. */
export function literal(lines: readonly string[]): string {
  return ['.PP', '.RS 4', '.nf', asLines(verbatim(lines.join('\n'))), '.fi', '.RE'].join('\n');
}
