/** nginx from the system's packages, serving one directory on free ports: what bytes come from on real mirrors. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { selfSigned } from '../test/transfer/certificate.js';

export interface Nginx {
  readonly plain: string;
  readonly tls: string;
  /** PEM file of who vouches for `tls`. */
  readonly caFile: string;
  /** 20 MB/s for every connection. */
  readonly throttled: string;
  stop(): Promise<void>;
}

export async function startNginx(root: string): Promise<Nginx> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-nginx-'));
  const [plain = 0, tls = 0, throttled = 0] = await freePorts(3);
  const { key, cert } = await selfSigned('IP:127.0.0.1');
  const [keyFile, caFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  await writeFile(keyFile, key);
  await writeFile(caFile, cert);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const config = [
    'daemon off; worker_processes 1;',
    `pid ${directory}/pid; error_log ${directory}/error.log;`,
    'events { worker_connections 256; }',
    'http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000;',
    ...temporary.map((name) => `${name}_temp_path ${directory}/${name};`),
    `server { listen 127.0.0.1:${plain}; root ${root}; }`,
    `server { listen 127.0.0.1:${throttled}; root ${root}; limit_rate 20000000; }`,
    `server { listen 127.0.0.1:${tls} ssl; root ${root};`,
    `  ssl_certificate ${caFile}; ssl_certificate_key ${keyFile}; } }`,
  ];
  await writeFile(join(directory, 'nginx.conf'), config.join('\n'));
  const running = execa('nginx', ['-c', join(directory, 'nginx.conf'), '-p', directory], { reject: false });
  const origin = `http://127.0.0.1:${plain}`;
  const retry = ['--retry', '20', '--retry-connrefused', '--retry-delay', '1'];
  const { failed } = await execa('curl', [...retry, '-so', '/dev/null', origin], { reject: false });
  if (failed) throw new Error("nginx does not answer: install it from the system's packages");
  return {
    plain: origin,
    tls: `https://127.0.0.1:${tls}`,
    caFile,
    throttled: `http://127.0.0.1:${throttled}`,
    stop: async () => {
      running.kill();
      await running;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}
