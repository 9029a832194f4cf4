/** A local server of files by path, as raw.githubusercontent.com serves those of a repository: with ranges, without lists. */
import { ranged } from './http-server.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';

export interface RawFiles extends TestServer {
  /** What a path is answered with instead. */
  swap(path: string, route: Route): void;
  /** Paths that were asked for. */
  asked(): readonly string[];
}

/** @param files contents by path, which starts with a slash */
export async function startRawFiles(files: Readonly<Record<string, Uint8Array>>): Promise<RawFiles> {
  const swapped = new Map<string, Route>();
  const server = await startServer((request, path) => {
    const swap = swapped.get(path);
    if (swap !== undefined) return swap;
    const bytes = files[path];
    if (bytes === undefined)
      return {
        status: 404,
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        body: '404: Not Found',
      };
    const { status, headers, body } = ranged(
      {
        status: 200,
        headers: { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' },
        body: Buffer.from(bytes),
        ranges: true,
      },
      request,
    );
    return { status, headers, body };
  });
  return {
    ...server,
    swap: (path, route) => swapped.set(path, route),
    asked: () => server.requests.map(({ url }) => url),
  };
}
