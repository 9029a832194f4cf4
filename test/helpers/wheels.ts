/** Tiny wheels, and package indexes on this machine that serve them as the simple repository API has it (PEP 503). */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { onTestFinished } from 'vitest';
import { zip } from '../transfer/make-archive.js';
import { listen, stop } from './http-server.js';

export interface Wheel {
  readonly name: string;
  readonly filename: string;
  readonly content: Buffer;
  readonly sha256: string;
  /** As a lock has it. */
  readonly locked: string;
}

export interface WheelOptions {
  readonly requires?: readonly string[];
  readonly files?: Readonly<Record<string, Buffer | string>>;
  /** Where the lock wants it. */
  readonly marker?: string;
}

/** A wheel for every Python and platform. */
export function makeWheel(name: string, version: string, options: WheelOptions = {}): Wheel {
  const { requires = [], files = { [`${name}.py`]: `version = '${version}'\n` }, marker } = options;
  const module = name.replaceAll('-', '_');
  const described = `${module}-${version}.dist-info`;
  const metadata = [
    'Metadata-Version: 2.1',
    `Name: ${name}`,
    `Version: ${version}`,
    ...requires.map((requirement) => `Requires-Dist: ${requirement}`),
  ].join('\n');
  const members: Record<string, Buffer | string> = {
    ...files,
    [`${described}/METADATA`]: `${metadata}\n`,
    [`${described}/WHEEL`]: 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  };
  const record = Object.entries(members).map(([path, content]) => {
    const digest = createHash('sha256').update(content).digest('base64url');
    return `${path},sha256=${digest},${Buffer.byteLength(content)}`;
  });
  members[`${described}/RECORD`] = [...record, `${described}/RECORD,,`, ''].join('\n');
  const content = zip(Object.entries(members).map(([path, text]) => ({ name: path, content: text })));
  const sha256 = createHash('sha256').update(content).digest('hex');
  const condition = marker === undefined ? '' : ` ; ${marker}`;
  return {
    name,
    filename: `${module}-${version}-py3-none-any.whl`,
    content,
    sha256,
    locked: `${name}==${version}${condition} \\\n    --hash=sha256:${sha256}\n`,
  };
}

export interface PackageIndex {
  /** Without a slash at its end. */
  readonly address: string;
  /** Paths that were asked for. */
  readonly requests: string[];
}

/** @param lies sha256 that links tell, by file name, where it is not the file's own */
export async function packageIndex(
  wheels: readonly Wheel[],
  lies: Readonly<Record<string, string>> = {},
): Promise<PackageIndex> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '/');
    requests.push(path);
    const file = wheels.find(({ filename }) => path === `/files/${filename}`);
    const listed = wheels.filter(({ name }) => path === `/simple/${name}/`);
    if (file !== undefined) response.end(file.content);
    else if (listed.length > 0) {
      const links = listed.map(({ filename, sha256 }) => {
        const address = `/files/${encodeURIComponent(filename)}#sha256=${lies[filename] ?? sha256}`;
        return `<a href="${address}">${filename}</a>`;
      });
      response.setHeader('content-type', 'text/html');
      response.end(`<!DOCTYPE html><html><body>${links.join('\n')}</body></html>`);
    } else response.writeHead(404).end();
  });
  const port = await listen(server, 0);
  onTestFinished(() => stop(server));
  return { address: `http://127.0.0.1:${port}/simple`, requests };
}
