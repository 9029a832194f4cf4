/** nginx from the system's packages, serving one directory on a free port: what bytes come from on real mirrors. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

export interface Nginx {
  readonly origin: string;
  stop(): Promise<void>;
}

/** @returns undefined where nginx is not installed */
export async function startNginx(root: string): Promise<Nginx | undefined> {
  const { failed } = await execa('nginx', ['-v'], { reject: false });
  if (failed) return undefined;
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-nginx-'));
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const config = [
    'daemon off; worker_processes 1;',
    `pid ${directory}/pid; error_log ${directory}/error.log;`,
    'events { worker_connections 256; }',
    'http { access_log off; sendfile on; tcp_nopush on;',
    ...temporary.map((name) => `${name}_temp_path ${directory}/${name};`),
    `server { listen 127.0.0.1:${port}; root ${root}; } }`,
  ];
  await writeFile(join(directory, 'nginx.conf'), config.join('\n'));
  const process = execa('nginx', ['-c', join(directory, 'nginx.conf'), '-p', directory], { reject: false });
  const origin = `http://127.0.0.1:${port}`;
  await execa('curl', [
    '--retry',
    '20',
    '--retry-connrefused',
    '--retry-delay',
    '1',
    '-so',
    '/dev/null',
    origin,
  ]);
  return {
    origin,
    stop: async () => {
      process.kill();
      await process;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
