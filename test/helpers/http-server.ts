/** How the local servers speak HTTP: answers that take time, ranges, slow bodies, ports. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Answer } from './hf-access.js';

/** The bytes of a body; those of large files are not copied. */
export function bufferOf(body: Answer['body']): Buffer {
  return typeof body === 'string' ? Buffer.from(body) : body;
}

/** Applies a Range to an answer that allows it (RFC 9110: one range, `If-Range` by ETag). */
export function ranged(answer: Answer, request: IncomingMessage): Answer {
  if (answer.ranges !== true || answer.status !== 200) return answer;
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const condition = request.headers['if-range'];
  if (first === undefined || (condition !== undefined && condition !== answer.headers['etag'])) return answer;
  const body = bufferOf(answer.body);
  const start = Number(first);
  const end = Math.min(last === undefined || last === '' ? Infinity : Number(last), body.length - 1);
  if (start > end) {
    return { status: 416, headers: { 'content-range': `bytes */${body.length}` }, body: '' };
  }
  return {
    status: 206,
    headers: { ...answer.headers, 'content-range': `bytes ${start}-${end}/${body.length}` },
    body: body.subarray(start, end + 1),
  };
}

/** Writes a body in chunks, at most `rate` bytes a second, until it is through or the connection is gone. */
export async function send(
  response: ServerResponse,
  body: Buffer,
  rate: number | undefined,
  onSent: (bytes: number) => Promise<void> | void,
): Promise<void> {
  const step = rate === undefined ? 1024 * 1024 : Math.max(1024, Math.floor(rate / 20));
  for (let at = 0; at < body.length; at += step) {
    // There is none yet while an earlier answer on this connection ends: what is written waits for it.
    if (response.destroyed || response.socket?.destroyed === true) return;
    const chunk = body.subarray(at, at + step);
    // Asked for before anything is waited for, or it may be missed.
    const flowing = response.write(chunk) ? undefined : drained(response);
    const told = onSent(chunk.length);
    // After the last one the client may ask for more on this connection, which waits for the end of this answer.
    if (at + step < body.length) await told;
    if (rate !== undefined) await new Promise((resolve) => setTimeout(resolve, (1000 * chunk.length) / rate));
    else await flowing;
  }
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

/**
 * A listener whose answers take time. One that fails since its client is gone (killed in the middle of its question) is
 * none that a test has to hear of; any other failure ends the run.
 */
export function listener(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): RequestListener {
  return (request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!request.socket.destroyed) throw error;
    });
  };
}

export async function readBody(request: IncomingMessage): Promise<string> {
  request.setEncoding('utf8');
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

export async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Expected a port');
  return address.port;
}

export async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
