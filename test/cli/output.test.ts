import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asEventOutput } from '../../src/cli/event-output.js';
import { createOutput, type OutputSettings } from '../../src/cli/output.js';
import { reportErrors } from '../../src/cli/report.js';
import { ModeldlError } from '../../src/errors.js';
import { fakeStream, type FakeStream } from '../helpers/fake-stream.js';

const TOKEN = 'hf_abcdefghijklmnopqrstuvwx';

function open(settings: Partial<OutputSettings> = {}, isTTY = false) {
  const stdout = fakeStream(isTTY);
  const stderr = fakeStream(isTTY);
  const output = createOutput({
    json: false,
    quiet: false,
    color: false,
    ...settings,
    stdout: stdout.stream,
    stderr: stderr.stream,
  });
  return { output, stdout, stderr };
}

function said({ stdout, stderr }: { readonly stdout: FakeStream; readonly stderr: FakeStream }) {
  return [stdout.text(), stderr.text()];
}

describe('results', () => {
  it('are lines on stdout, or one document', () => {
    const lines = open();
    lines.output.result(['/a', '/b'], { ok: true });
    expect(said(lines)).toEqual(['/a\n/b\n', '']);
    const json = open({ json: true });
    json.output.result(['/a'], { ok: true });
    expect(JSON.parse(json.stdout.text())).toEqual({ ok: true });
    expect(json.stderr.text()).toBe('');
  });

  it('of nothing print nothing', () => {
    const opened = open();
    opened.output.result([], { ok: true });
    expect(said(opened)).toEqual(['', '']);
  });

  it('give scripts a path as it is, and a terminal nothing that it obeys', () => {
    const path = '/a\u001b[2J';
    const script = open();
    script.output.result([path], {});
    expect(script.stdout.text()).toBe(`${path}\n`);
    const terminal = open({}, true);
    terminal.output.result([path], {});
    expect(terminal.stdout.text()).toBe('/a\\x1b[2J\n');
  });
});

describe('in GitHub Actions', () => {
  /** What the runner takes for commands, in either stream: the older spelling anywhere in a line. */
  const COMMAND = /^\s*::|##\[/m;
  const hostile = ['::add-mask::a', '  file  ##[add-mask]b  1 B', 'x\n ::add-mask::c', '###[add-mask]d'];

  it('no result is a command, and a document says the same', () => {
    const opened = open({ annotate: true });
    opened.output.result(hostile, {});
    expect(opened.stdout.text()).not.toMatch(COMMAND);
    expect(opened.stdout.text()).toContain('\\x23[add-mask]b');
    const document = { ok: true, files: hostile, '##[add-mask]': '\\##[' };
    const json = open({ annotate: true, json: true });
    json.output.result([], document);
    expect(json.stdout.text()).not.toMatch(COMMAND);
    expect(JSON.parse(json.stdout.text())).toEqual(document);
  });

  it('nor is an event, and scripts get paths as they are', () => {
    const events = open({ annotate: true });
    for (const message of hostile) asEventOutput(events.output).warn(message);
    expect(events.stderr.text()).not.toMatch(COMMAND);
    expect(events.stderr.text().split('\n').filter(Boolean).map(messageOf)).toEqual(hostile);
    const path = resolve('##[add-mask]');
    const script = open({ annotate: true });
    script.output.result([path], {});
    expect(script.stdout.text()).toBe(`${path}\n`);
  });
});

function messageOf(line: string): unknown {
  return (JSON.parse(line) as { message: unknown }).message;
}

describe('talk', () => {
  it.each([
    [{}, ['note', 'warning: careful']],
    [{ quiet: true }, ['warning: careful']],
    [{ json: true }, ['warning: careful']],
  ])('with %j', (settings, expected) => {
    const { output, stdout, stderr } = open(settings);
    output.note('note');
    output.warn('careful');
    expect(stdout.text()).toBe('');
    expect(stderr.lines()).toEqual(expected);
  });

  it('colours words, never meaning', () => {
    const plain = open();
    const coloured = open({ color: true });
    for (const { output } of [plain, coloured]) {
      output.note('n');
      output.warn('w');
      output.fail('f', ['hint: h']);
    }
    const text = coloured.stderr.text();
    expect(text).toContain('\u001b[');
    // eslint-disable-next-line no-control-regex -- the colours
    expect(text.replace(/\u001b\[\d+m/g, '')).toBe(plain.stderr.text());
    expect(plain.stderr.lines()).toEqual(['n', 'warning: w', 'error: f', '  hint: h']);
  });
});

describe('a secret', () => {
  it('leaves with no talk', () => {
    const { output, stderr } = open();
    const address = 'https://alice:hunter2@host/x?X-Amz-Signature=abcdef';
    output.note(`${TOKEN} ${address}`);
    output.warn(`${TOKEN} ${address}`);
    output.fail(`${TOKEN} ${address}`, [TOKEN, address, `Authorization: Bearer ${'a'.repeat(20)}`]);
    for (const secret of [TOKEN, 'hunter2', 'abcdef', 'a'.repeat(20)])
      expect(stderr.text()).not.toContain(secret);
  });

  it('leaves with no error in a document', () => {
    const { output, stdout } = open({ json: true });
    const error = new ModeldlError('NETWORK', `refused ${TOKEN}`, {
      hint: `not ${TOKEN}`,
      details: { url: 'https://alice:hunter2@host/x?X-Amz-Signature=abcdef', log: [TOKEN] },
    });
    reportErrors(output, [error], [], 0);
    for (const secret of [TOKEN, 'hunter2', 'abcdef']) expect(stdout.text()).not.toContain(secret);
    expect(stdout.text()).toContain('***');
  });

  it('is no name that only looks like one', () => {
    for (const json of [false, true]) {
      const { output, stdout } = open({ json });
      output.result([`/models/${TOKEN}.onnx`], { path: `/models/${TOKEN}.onnx` });
      expect(stdout.text()).toContain(`/models/${TOKEN}.onnx`);
    }
  });
});
