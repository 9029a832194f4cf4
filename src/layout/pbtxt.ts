/** Protocol buffers' text format, as far as graphs need it: fields with values, and messages. Pure. */

/** Lines of a message's content. */
export type Lines = readonly string[];

/** A string in double quotes. */
export function text(name: string, value: string): string {
  return `${name}: "${escape(value, '"')}"`;
}

/** A string in single quotes, so that JSON in it stays readable. */
export function json(name: string, value: string): string {
  return `${name}: '${escape(value, "'")}'`;
}

/** A number, a boolean, or the name of an enumerated value. */
export function word(name: string, value: string | number | boolean): string {
  return `${name}: ${value}`;
}

/** A field that is a message. */
export function message(name: string, content: Lines): Lines {
  return [`${name} {`, ...indented(content), '}'];
}

function indented(lines: Lines): Lines {
  return lines.map((line) => `  ${line}`);
}

function escape(value: string, quote: string): string {
  return (
    value
      .replaceAll('\\', '\\\\')
      .replaceAll(quote, `\\${quote}`)
      // eslint-disable-next-line no-control-regex -- what a string may not hold as it is
      .replace(/[\u0000-\u001f\u007f]/g, (character) => {
        return `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`;
      })
  );
}
