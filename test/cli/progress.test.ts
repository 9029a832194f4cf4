import { describe, expect, it } from 'vitest';
import { createOutput } from '../../src/cli/output.js';
import { createProgress, type ProgressMode } from '../../src/cli/progress.js';
import type { ModeldlEvent } from '../../src/events.js';
import { fakeStream, type FakeStream } from '../helpers/fake-stream.js';

const reference = 'hf:org/name';
const MIB = 1024 * 1024;

const EVENTS: readonly ModeldlEvent[] = [
  { type: 'resolve', reference },
  { type: 'plan', reference, files: 2, bytes: 20 * MIB, storedBytes: 0 },
  { type: 'file-start', reference, path: 'a', bytes: 10 * MIB, resumedBytes: 0 },
  { type: 'file-progress', reference, path: 'a', receivedBytes: 5 * MIB },
  { type: 'retry', url: 'https://h/a', reason: 'the connection ended early', attempt: 1, waitMs: 2000 },
  { type: 'waiting', what: reference, holder: 'process 7' },
  { type: 'file-done', reference, path: 'a', bytes: 10 * MIB, sha256: '0'.repeat(64) },
  { type: 'unpack', reference, path: 'a.zip', members: 1 },
  { type: 'stage', stage: 'Converting', detail: 'model' },
  { type: 'stage-progress', stage: 'Converting', done: 1, total: 2 },
  { type: 'note', message: 'something to know' },
  { type: 'warning', message: 'the token hf_abcdefghijklmnopqrst' },
];

async function drawn(
  mode: ProgressMode,
  settings: { readonly quiet?: boolean; readonly json?: boolean; readonly isTTY?: boolean } = {},
): Promise<{ readonly stdout: FakeStream; readonly stderr: FakeStream }> {
  const { quiet = false, json = false, isTTY = false } = settings;
  const stdout = fakeStream(isTTY);
  const stderr = fakeStream(isTTY);
  const output = createOutput({ stdout: stdout.stream, stderr: stderr.stream, json, quiet, color: false });
  const progress = await createProgress(mode, output);
  for (const event of EVENTS) progress.emit(event);
  progress.stop();
  return { stdout, stderr };
}

const TALK = [
  'Fetching 2 files, 20.0 MiB, for hf:org/name',
  'Trying https://h/a again in 2s: the connection ended early',
  'Waiting for process 7, which works on hf:org/name',
  'something to know',
  'warning: the token ***',
];

describe('createProgress', () => {
  it.each<readonly [ProgressMode, Parameters<typeof drawn>[1], readonly string[]]>([
    ['plain', {}, TALK],
    ['auto', {}, TALK],
    ['none', {}, TALK.slice(-2)],
    ['auto', { quiet: true }, TALK.slice(-1)],
    ['auto', { json: true }, TALK.slice(-1)],
    ['plain', { quiet: true }, TALK.slice(-1)],
  ])('%s with %j', async (mode, settings, expected) => {
    const { stdout, stderr } = await drawn(mode, settings);
    expect(stderr.lines()).toEqual(expected);
    expect(stdout.text()).toBe('');
  });

  it('json gives every event as one line, without secrets', async () => {
    const { stdout, stderr } = await drawn('json');
    const lines = stderr.lines().map((line) => JSON.parse(line) as ModeldlEvent);
    expect(lines.slice(0, -1)).toEqual(EVENTS.slice(0, -1));
    expect(lines.at(-1)).toEqual({ type: 'warning', message: 'the token ***' });
    expect(stdout.text()).toBe('');
  });

  it('bar draws on a terminal, says warnings as lines, and shows the cursor again', async () => {
    const { stdout, stderr } = await drawn('auto', { isTTY: true });
    const text = stderr.text();
    expect(text).toContain('warning: the token ***');
    expect(text).toContain('something to know');
    expect(text.lastIndexOf('\u001b[?25h')).toBeGreaterThan(text.lastIndexOf('\u001b[?25l'));
    expect(stdout.text()).toBe('');
  });
});
