/** Weights of Ultralytics by name, through the built program, from a local GitHub. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sha256Of, startGithub, type Github, type GithubRelease } from '../helpers/github.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { selfSigned } from '../transfer/certificate.js';

const WEIGHTS = Buffer.from('weights of a YOLO model, as far as a hub cares');
/** Of one length, so that nothing but a digest tells. */
const OTHERS = Buffer.from('weights of a YOLO model, as nobody expects it!');
const RELEASES: readonly GithubRelease[] = [
  { tag: 'v8.4.0', assets: { 'yolo11n.pt': WEIGHTS } },
  { tag: 'v8.3.0', old: true, assets: { 'yolo11n.pt': WEIGHTS } },
];
const REPLACED = RELEASES.map((release) => ({ ...release, assets: { 'yolo11n.pt': OTHERS } }));

let github: Github;
let world: World;

beforeEach(async () => {
  github = await startGithub({ releases: RELEASES });
  world = await createWorld();
  await configure();
});
afterEach(async () => {
  await world.remove();
  await github.close();
});

/** What `modeldl config set` writes. */
async function configure(): Promise<void> {
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  const hubs = { ultralytics: { endpoint: github.endpoint } };
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs }));
}

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--max-wait', '1ms');
}

async function pulled(...args: readonly string[]): Promise<Buffer> {
  const run = await pull(...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return readFile(join(run.stdout, 'yolo11n.pt'));
}

function requests(): number {
  return github.site.requests.length + github.files.requests.length;
}

describe('weights of Ultralytics', () => {
  it('are fetched by a name, and by a tag without a request once they are stored', async () => {
    expect(await pulled('ultralytics:yolo11n')).toEqual(WEIGHTS);
    const before = requests();
    expect(await pulled('ultralytics:yolo11n.pt@v8.4.0')).toEqual(WEIGHTS);
    expect(requests()).toBe(before);
    const list = await world.run('list', '--quiet');
    expect(list.stdout).toBe('ultralytics:yolo11n@v8.4.0');
  });

  it('are shown as a pickle, stored or not, with their task', async () => {
    const remote = await world.run('show', 'ultralytics:yolo11n');
    await pulled('ultralytics:yolo11n');
    const stored = await world.run('show', 'ultralytics:yolo11n');
    for (const { stdout } of [remote, stored]) {
      expect(stdout).toMatch(/^ {2}pickle {5}yolo11n.pt may run code when it is loaded$/m);
      expect(stdout).toContain('  task       detect\n');
    }
    const { stdout } = await world.run('show', 'ultralytics:yolo11n', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ models: [{ pickles: ['yolo11n.pt'], task: 'detect' }] });
  });

  it('may be asked for with a token, which goes to the API alone and is never said', async () => {
    const token = 'ghp_0123456789abcdefghijABCDEFGHIJ012345';
    await github.close();
    github = await startGithub({ releases: RELEASES, token });
    await configure();
    const who = await world.runWith({ GH_TOKEN: token }, 'whoami', 'ultralytics');
    expect(who.stdout).toContain('octocat');
    const run = await world.runWith({ GITHUB_TOKEN: token }, 'pull', 'ultralytics:yolo11n', '--verbose');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(`${run.stdout}${run.stderr}`).not.toContain(token);
    expect(github.site.requests.map(({ headers }) => headers.authorization)).toContain(`Bearer ${token}`);
    expect(github.files.requests.map(({ headers }) => headers.authorization)).not.toContain(
      `Bearer ${token}`,
    );
    const wrong = await world.runWith({ GH_TOKEN: 'ghp_wrong' }, 'pull', 'ultralytics:yolo11n@v8.3.0');
    expect(wrong.exitCode).toBe(4);
    expect(wrong.stderr).toContain('does not accept the token from the environment variable GH_TOKEN');
  });

  it('come from a GitHub with an authority of its own, and from no other', async () => {
    const certificate = await selfSigned('IP:127.0.0.1');
    await github.close();
    github = await startGithub({ releases: RELEASES, certificate });
    await configure();
    const plain = { SSL_CERT_FILE: '', NODE_EXTRA_CA_CERTS: '' };
    const refused = await world.runWith(plain, 'pull', 'ultralytics:yolo11n', '--max-wait', '1ms');
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('certificate');
    expect(requests()).toBe(0);
    const file = join(world.directory, 'authority.pem');
    await writeFile(file, certificate.cert);
    const run = await world.runWith({ ...plain, SSL_CERT_FILE: file }, 'pull', 'ultralytics:yolo11n');
    expect(run.exitCode, run.stderr).toBe(0);
  });
});

describe('weights that are not there, or not what they were', () => {
  it.each([
    ['ultralytics:yolo11', 3, 'yolo11m, yolo11n'],
    ['ultralytics:yolo11n@v7.0.0', 3, '`ultralytics:yolo11n@v8.4.0`'],
    ['ultralytics:org/yolo11n', 2, 'is no name of weights'],
  ])('%s ends with %s', async (reference, code, message) => {
    const run = await pull(reference);
    expect(run.exitCode).toBe(code);
    expect(run.stderr).toContain(message);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('are refused when the file was replaced between the question and the answer', async () => {
    github.swap('v8.4.0/yolo11n.pt', OTHERS);
    const run = await pull('ultralytics:yolo11n');
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('yolo11n.pt');
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('are refused when a page comes in their place, though GitHub tells no digest', async () => {
    github.swap('v8.3.0/yolo11n.pt', Buffer.from('<html>Log in</html>'));
    const run = await pull('ultralytics:yolo11n@v8.3.0');
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('yolo11n.pt');
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('are refused when other bytes come for a tag that was pulled, though GitHub tells no digest', async () => {
    const reference = 'ultralytics:yolo11n@v8.3.0';
    await pulled(reference);
    github.set(REPLACED);
    // Stored and pinned: nobody is asked.
    expect(await pulled(reference)).toEqual(WEIGHTS);
    const again = await pull(reference, '--force');
    expect(again.exitCode).toBe(6);
    expect(again.stderr).toContain(sha256Of(WEIGHTS));
    expect(again.stderr).toContain(`\`modeldl pull --refresh --force ${reference}\` takes the new one`);
    expect(await pulled(reference, '--force', '--refresh')).toEqual(OTHERS);
    expect(await pulled(reference, '--force')).toEqual(OTHERS);
  });

  it('are kept, with a warning, when a name leads to a tag whose file was replaced', async () => {
    await pulled('ultralytics:yolo11n');
    github.set(REPLACED);
    const run = await pull('ultralytics:yolo11n');
    expect(run.exitCode).toBe(0);
    expect(run.stderr).toContain(
      '`modeldl pull --refresh --force ultralytics:yolo11n@v8.4.0` takes the new one',
    );
    expect(await readFile(join(run.stdout, 'yolo11n.pt'))).toEqual(WEIGHTS);
    expect(await pulled('--refresh', '--force', 'ultralytics:yolo11n@v8.4.0')).toEqual(OTHERS);
  });

  it('are repaired by the digest that the first pull recorded', async () => {
    const reference = 'ultralytics:yolo11n@v8.3.0';
    const { stdout } = await pull(reference);
    const file = join(stdout, 'yolo11n.pt');
    await chmod(file, 0o644);
    await writeFile(file, 'what somebody else wrote');
    github.set(REPLACED);
    const repair = await world.run('verify', '--repair', reference);
    expect(repair.exitCode, repair.stderr).toBe(6);
    expect(repair.stderr).toContain(`do not match their digest: expected sha256 ${sha256Of(WEIGHTS)}`);
    github.set(RELEASES);
    expect(await pulled(reference)).toEqual(WEIGHTS);
  });
});

describe('a GitHub that takes no more requests', () => {
  it('is not needed for a release that is named', async () => {
    github.refuse('primary limit');
    const run = await pull('ultralytics:yolo11n@v8.4.0');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain('takes no more requests until 2100-01-01 00:00 UTC');
    expect(await readFile(join(run.stdout, 'yolo11n.pt'))).toEqual(WEIGHTS);
  });

  it('says until when, and how to do without it', async () => {
    github.refuse('primary limit');
    const run = await pull('ultralytics:yolo11n');
    expect(run.exitCode).toBe(5);
    expect(run.stderr).toContain('takes no more requests until 2100-01-01 00:00 UTC');
    expect(run.stderr).toContain('`ultralytics:yolo11n@v8.4.0` names a release');
  });

  it('leaves what is stored in its place', async () => {
    await pulled('ultralytics:yolo11n');
    github.refuse('primary limit');
    const run = await pull('ultralytics:yolo11n');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain('using the stored revision v8.4.0');
  });
});
