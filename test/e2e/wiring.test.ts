/** That the settings of the network and of concurrency reach the transfer: by the built program, at real servers. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub, type HfHubOptions, type HfRequest } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { selfSigned, type Certificate } from '../transfer/certificate.js';
import { createWorld as createServers, type Local } from '../transfer/faults.js';

const MiB = 1024 * 1024;

let world: World;

describe('a pull from an https server behind a proxy', () => {
  const servers = createServers();
  let certificate: Certificate;
  let file: string;
  let server: Local;
  let proxy: Awaited<ReturnType<typeof servers.proxy>>;

  beforeAll(async () => {
    certificate = await selfSigned('IP:127.0.0.1');
  });
  beforeEach(async () => {
    server = await servers.serve((_request, response) => response.end('a model'), certificate);
    proxy = await servers.proxy();
    // Whatever this machine trusts beside its own list is not wanted here.
    world = await createWorld({ SSL_CERT_FILE: '', NODE_EXTRA_CA_CERTS: '', HTTPS_PROXY: proxy.origin });
    file = join(world.directory, 'authority.pem');
    await writeFile(file, certificate.cert);
  });
  afterEach(async () => {
    await world.remove();
    await servers.close();
  });

  it.each(['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'caFile'])(
    'trusts the authority of %s',
    async (setting) => {
      const variables: Record<string, string> = {};
      if (setting === 'caFile') expect((await world.run('config', 'set', 'caFile', file)).exitCode).toBe(0);
      else variables[setting] = file;
      const run = await world.runWith(variables, 'pull', `${server.origin}/model.onnx`);
      expect(run.stderr).not.toContain('error:');
      expect(run.exitCode).toBe(0);
      expect(proxy.tunnels.map(({ url }) => url)).toContain(server.host);
      expect(server.connections()).toBe(proxy.tunnels.length);
      expect(server.requests.length).toBeGreaterThan(0);
      for (const { headers } of server.requests) {
        expect(headers['user-agent']).toMatch(/^modeldl \(node v[\d.]+; \w+ \w+\)$/);
      }
    },
  );

  it('trusts nobody else, and reaches hosts of NO_PROXY directly', async () => {
    const refused = await world.run('pull', `${server.origin}/model.onnx`);
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('certificate');
    expect(server.requests).toEqual([]);
    const tunnels = proxy.tunnels.length;
    const direct = { NO_PROXY: '127.0.0.1', SSL_CERT_FILE: file };
    expect((await world.runWith(direct, 'pull', `${server.origin}/model.onnx`)).exitCode).toBe(0);
    expect(proxy.tunnels).toHaveLength(tunnels);
  });
});

describe('a pull of many files', () => {
  const SMALL = Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [`part-${at}.json`, `{"at":${at}}`]),
  );
  const LARGE = Object.fromEntries(
    Array.from({ length: 4 }, (_, at) => [`weights-${at}.onnx`, Buffer.alloc(8 * MiB, `weights ${at} `)]),
  );
  const isLarge = ({ url }: HfRequest): boolean => url.includes('/resolve/') && url.includes('weights-');
  const isSmall = ({ url }: HfRequest): boolean => url.includes('/resolve/') && url.includes('part-');

  let hub: HfHub;

  async function start(options: Omit<HfHubOptions, 'repos'>): Promise<void> {
    hub = await startHfHub({ ...options, repos: [{ id: 'org/model', files: { ...SMALL, ...LARGE } }] });
    world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  }
  afterEach(async () => {
    await world.remove();
    await hub.close();
  });

  /** Requests that come and go while a gate stays shut: enough for one too many to have arrived. */
  const LATER = 25;

  /** Holds requests until `expected` files were asked for at once, and a while longer. */
  function gate(expected: number) {
    const asked = new Set<string>();
    let opened: () => void = () => undefined;
    const opening = new Promise<void>((resolve) => (opened = resolve));
    let most = 0;
    const open = async (): Promise<void> => {
      for (let turn = 0; turn < LATER; turn += 1) await (await fetch(`${hub.endpoint}/later`)).text();
      most = asked.size;
      opened();
    };
    return {
      most: () => most,
      // By file, since one that is held for too long is asked for again.
      async enter({ url }: HfRequest): Promise<void> {
        const before = asked.size;
        asked.add(url);
        if (before < expected && asked.size === expected) void open();
        await opening;
      },
    };
  }

  it.each([1, 2, 3])('fetches %d large files at once with --jobs', async (jobs) => {
    const large = gate(jobs);
    await start({ hold: async (request) => (isLarge(request) ? large.enter(request) : undefined) });
    const run = await world.run('pull', 'hf:org/model', '--jobs', String(jobs));
    expect(run.exitCode, run.stderr).toBe(0);
    expect(large.most()).toBe(jobs);
  });

  it('fetches 32 small files at once, all of them before the first large one', async () => {
    const small = gate(32);
    await start({ hold: async (request) => (isSmall(request) ? small.enter(request) : undefined) });
    const run = await world.run('pull', 'hf:org/model');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(small.most()).toBe(32);
    const firstLarge = hub.requests.findIndex(isLarge);
    expect(hub.requests.slice(0, firstLarge).filter(isSmall)).toHaveLength(40);
    expect(hub.requests.slice(firstLarge).some(isSmall)).toBe(false);
  });

  it('stops at the first failure: what runs ends, and nothing more is begun', async () => {
    await start({});
    // The first never comes to an end by itself; the second is wrong.
    hub.addFault({ matches: /weights-0/, kind: { never: true } });
    hub.addFault({ matches: /weights-1/, kind: { status: 404 } });
    const run = await world.run('pull', 'hf:org/model', '--jobs', '2', '--json');
    expect(run.exitCode).toBe(3);
    expect(JSON.parse(run.stdout)).toMatchObject({ ok: false, error: { file: 'weights-1.onnx' } });
    expect(hub.requests.filter(({ url }) => /weights-[23]/.test(url))).toEqual([]);
  });
});
