/** tar, plain or compressed, read as a stream. */
import { createReadStream } from 'node:fs';
import { type Duplex, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import type { ReadArchive } from './archive.js';

const CHUNK_BYTES = 1024 * 1024;

/** Reads every member in order. Throws what the decompressor or the tar reader finds wrong. */
export const readTar: ReadArchive = async (file, format, visit, signal) => {
  const { extract: createExtract } = await import('tar-stream');
  const extract = createExtract();
  const source = createReadStream(file, { highWaterMark: CHUNK_BYTES });
  const decompressed = await decompressor(source, format);
  const feeding = pipeline([...decompressed, extract], { signal });
  // The loop below meets the same failure; without this it would count as unhandled while a member is read.
  feeding.catch(() => undefined);
  for await (const entry of extract) {
    const { name, type, size } = entry.header;
    await visit({
      name: name.replace(/\/$/, ''),
      kind:
        type === 'file' || type === 'contiguous-file' ? 'file' : type === 'directory' ? 'directory' : 'other',
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
};

async function decompressor(
  source: Readable,
  format: Parameters<ReadArchive>[1],
): Promise<(Readable | Duplex)[]> {
  if (format === 'tar.gz') return [source, zlib.createGunzip({ chunkSize: CHUNK_BYTES })];
  if (format === 'tar.zst') return [source, await zstd()];
  if (format === 'tar.xz') {
    const { XzReadableStream } = await import('xz-decompress');
    const web = new XzReadableStream(Readable.toWeb(source) as ReadableStream<Uint8Array>);
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
