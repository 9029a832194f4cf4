/** tar, plain or compressed, read as a stream. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type Duplex, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import type { Header } from 'tar-stream';
import { transformBytes, type ReadArchive } from './member.js';

const CHUNK_BYTES = 1024 * 1024;

/** tar counts in blocks; at least one of zeros ends it. */
const BLOCK_BYTES = 512;

/** Reads every member in order. Throws what the decompressor or the tar reader finds wrong. */
export const readTar: ReadArchive = async (file, format, visitor, signal) => {
  const { extract: createExtract } = await import('tar-stream');
  // The format of Unix V7 has no magic; its checksum is looked at all the same. The types do not know this option.
  const options = { allowUnknownFormat: true, highWaterMark: CHUNK_BYTES };
  const extract = createExtract(options);
  const source = createReadStream(file, { highWaterMark: CHUNK_BYTES });
  const decompressed = await decompressor(source, format);
  const feeding = pipeline([...decompressed, watched(visitor.unpacked), extract], { signal });
  // The loop below meets the same failure; without this it would count as unhandled while a member is read.
  feeding.catch(() => undefined);
  for await (const entry of extract) {
    const { name, size } = entry.header;
    const kind = kindOf(entry.header);
    await visitor.member({
      name: kind === 'directory' ? name.replace(/\/$/, '') : name,
      kind,
      bytes: size,
      open: () =>
        Promise.resolve(
          Readable.from(entry as AsyncIterable<Buffer>, { objectMode: false, highWaterMark: CHUNK_BYTES }),
        ),
    });
    // What nobody read is skipped; after a read this does nothing.
    entry.resume();
  }
  await feeding;
  if (format === 'tar.zst') await refuseRest(file, decompressed);
};

/** The decoder of Node.js ends with the first frame, and says nothing of what follows in the same chunk. */
async function refuseRest(file: string, [, decoder]: readonly (Readable | Duplex)[]): Promise<void> {
  const read: unknown = decoder === undefined ? undefined : Reflect.get(decoder, 'bytesWritten');
  if (typeof read === 'number' && read < (await stat(file)).size)
    throw new Error('it goes on after its first frame of zstd');
}

/** The contents of a sparse file are a map and pieces: what GNU tar marks with type `S`, or in PAX with these keys. */
function kindOf(header: Header): 'file' | 'directory' | 'other' {
  const { pax } = header;
  if (
    typeof pax === 'object' &&
    pax !== null &&
    Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))
  )
    return 'other';
  if (header.type === 'directory') return 'directory';
  return header.type === 'file' || header.type === 'contiguous-file' ? 'file' : 'other';
}

/** Counts the bytes of the tar itself, headers and padding included, and wants its end marker at the end. */
function watched(unpacked: (bytes: number) => void): Transform {
  let bytes = 0;
  let end: Buffer = Buffer.alloc(0);
  return transformBytes(
    (chunk) => {
      bytes += chunk.length;
      end = (chunk.length < BLOCK_BYTES ? Buffer.concat([end, chunk]) : chunk).subarray(-BLOCK_BYTES);
      unpacked(bytes);
    },
    () => {
      const ended = end.length === BLOCK_BYTES && end.every((byte) => byte === 0);
      if (!ended) throw new Error('it ends without the marker that ends a tar, so it may be cut off');
    },
  );
}

async function decompressor(
  source: Readable,
  format: Parameters<ReadArchive>[1],
): Promise<(Readable | Duplex)[]> {
  if (format === 'tar.gz') return [source, zlib.createGunzip({ chunkSize: CHUNK_BYTES })];
  if (format === 'tar.zst') return [source, await zstd()];
  if (format === 'tar.xz') {
    // CommonJS whose names Node.js does not find, so that they are on the default export only.
    const { default: xz } = await import('xz-decompress');
    const web = new xz.XzReadableStream(Readable.toWeb(source) as ReadableStream<Uint8Array>);
    return [Readable.fromWeb(web as Parameters<typeof Readable.fromWeb>[0])];
  }
  return [source];
}

/** Node.js has zstd from 22.15 on; before that a JavaScript decoder does it, more slowly. */
async function zstd(): Promise<Duplex> {
  const create: unknown = Reflect.get(zlib, 'createZstdDecompress');
  if (typeof create === 'function') return Reflect.apply(create, zlib, []) as Duplex;
  const { Decompress } = await import('fzstd');
  const decoder = new Decompress();
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      decoder.ondata = (data) => this.push(Buffer.from(data));
      try {
        decoder.push(chunk);
        done();
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
    flush(done) {
      decoder.ondata = (data) => this.push(Buffer.from(data));
      try {
        decoder.push(new Uint8Array(0), true);
        done();
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
  });
}
