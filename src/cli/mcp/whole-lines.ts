/** Bytes as they come, made whole lines of, so that a line without end fills no memory and ends no connection. */
import { Transform } from 'node:stream';

const NEWLINE = 0x0a;

/**
 * Passes lines on with their ends; what comes behind the last one is none.
 * @param longest of a line, bytes
 * @param onLeftOut called for each line that is longer, which is left out
 */
export function wholeLines(longest: number, onLeftOut: () => void): Transform {
  let begun: Buffer[] = [];
  let bytes = 0;
  const add = (part: Buffer): void => {
    const before = bytes;
    bytes += part.length;
    if (bytes <= longest) begun.push(part);
    else if (before <= longest) {
      begun = [];
      onLeftOut();
    }
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
        add(chunk.subarray(from, at + 1));
        from = at + 1;
        if (bytes <= longest) this.push(Buffer.concat(begun));
        begun = [];
        bytes = 0;
      }
      if (from < chunk.length) add(chunk.subarray(from));
      done();
    },
  });
}
