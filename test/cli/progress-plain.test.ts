import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createOutput } from '../../src/cli/output.js';
import { createProgress, type Progress } from '../../src/cli/progress.js';
import type { ModeldlEvent } from '../../src/events.js';

/** Progress as it is drawn off a terminal, with what it printed. */
async function offTerminal(): Promise<{ progress: Progress; lines: string[] }> {
  const lines: string[] = [];
  const { Writable } = await import('node:stream');
  const stderr = new Writable({
    write(chunk, _encoding, done) {
      lines.push(...String(chunk).split('\n').filter(Boolean));
      done();
    },
  });
  const output = createOutput({ stdout: stderr, stderr, json: false, quiet: false, color: false });
  return { progress: await createProgress('auto', output), lines };
}

function collecting(number: number): ModeldlEvent {
  return {
    type: 'stage',
    stage: 'Installing the toolchain openvino',
    detail: `Collecting package-${number}`,
  };
}

describe('progress off a terminal', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is a first line at once and then at most one per 10 s, the latest', async () => {
    const { progress, lines } = await offTerminal();
    for (let second = 0; second < 25; second++) {
      for (const part of [0, 0.3, 0.6]) progress.emit(collecting(second + part));
      vi.advanceTimersByTime(1000);
    }
    expect(lines).toEqual([
      'Installing the toolchain openvino: Collecting package-0',
      'Installing the toolchain openvino: Collecting package-9.6',
      'Installing the toolchain openvino: Collecting package-19.6',
    ]);
  });

  it('counts bytes on the same clock as stages', async () => {
    const { progress, lines } = await offTerminal();
    const file = { reference: 'hf:a/b', path: 'model.onnx' };
    progress.emit({ type: 'plan', reference: 'hf:a/b', files: 1, bytes: 100, storedBytes: 0 });
    progress.emit({ type: 'file-start', ...file, bytes: 100, resumedBytes: 0 });
    progress.emit({ type: 'file-progress', ...file, receivedBytes: 10 });
    progress.emit({ type: 'stage', stage: 'Reading the model' });
    expect(lines).toEqual(['Fetching 1 file, 100 B, for hf:a/b']);
    vi.advanceTimersByTime(10_001);
    expect(lines[1]).toBe('Reading the model');
  });

  it('counts files of one name in two models, and a file that is fetched again once', async () => {
    const { progress, lines } = await offTerminal();
    for (const reference of ['hf:a/one', 'hf:a/two', 'hf:a/two'])
      progress.emit({ type: 'file-start', reference, path: 'model.onnx', bytes: 100, resumedBytes: 0 });
    vi.advanceTimersByTime(10_001);
    progress.emit({ type: 'file-progress', reference: 'hf:a/one', path: 'model.onnx', receivedBytes: 30 });
    expect(lines).toEqual(['30 B of 200 B']);
  });

  it('never holds back warnings, notes and what is waited for', async () => {
    const { progress, lines } = await offTerminal();
    progress.emit(collecting(1));
    progress.emit({ type: 'warning', message: 'too long' });
    progress.emit({ type: 'note', message: 'adjusted' });
    progress.emit({ type: 'waiting', what: 'the toolchain', holder: 'process 7' });
    expect(lines.slice(1)).toEqual([
      'warning: too long',
      'adjusted',
      'Waiting for process 7, which works on the toolchain',
    ]);
  });

  it('is one line per 10 s of many models, files and retries too', async () => {
    const { progress, lines } = await offTerminal();
    const said: number[] = [];
    const note = (): void => {
      while (said.length < lines.length) said.push(performance.now());
    };
    const [path, url, reason] = ['model.onnx', 'https://h/model.onnx', 'the connection ended early'];
    for (let second = 0; second < 60; second++) {
      const reference = `hf:org/model-${second}`;
      progress.emit({ type: 'plan', reference, files: 1, bytes: 100, storedBytes: 0 });
      progress.emit({
        type: 'file-start',
        reference,
        path: `${second}/${path}`,
        bytes: 100,
        resumedBytes: 0,
      });
      for (const receivedBytes of [10, 50, 100])
        progress.emit({ type: 'file-progress', reference, path: `${second}/${path}`, receivedBytes });
      if (second % 3 === 0) progress.emit({ type: 'retry', url, reason, attempt: 1, waitMs: 1000 });
      progress.emit({ type: 'stage', stage: 'Converting', detail: reference });
      note();
      vi.advanceTimersByTime(1000);
      note();
    }
    const times = (isOne: (line: string) => boolean): readonly number[] =>
      said.filter((_time, index) => isOne(lines[index] ?? ''));
    const gaps = (all: readonly number[]): readonly number[] =>
      all.slice(1).map((time, index) => time - (all[index] ?? 0));
    const progressed = times((line) => !line.startsWith('Trying'));
    const retried = times((line) => line.startsWith('Trying'));
    expect(progressed).toHaveLength(7);
    expect(Math.min(...gaps(progressed))).toBeGreaterThanOrEqual(10_000 - 1);
    expect(lines[0]).toContain('hf:org/model-0');
    // Why nothing moves has a clock of its own, and shows as progress in between.
    expect(retried.length).toBeGreaterThanOrEqual(5);
  });

  it('says nothing more once it was stopped', async () => {
    const { progress, lines } = await offTerminal();
    progress.emit(collecting(1));
    progress.emit(collecting(2));
    progress.stop();
    vi.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(1);
  });
});
