import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { reportProgress, type CallProgress } from '../../../src/cli/mcp/report-progress.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const file = { reference: 'hf:org/name', path: 'model.onnx' } as const;

function started(): { readonly sent: CallProgress[]; readonly report: ReturnType<typeof reportProgress> } {
  const sent: CallProgress[] = [];
  const report = reportProgress((progress) => sent.push(progress));
  return { sent, report };
}

describe('the progress of a call', () => {
  it('is bytes of what was planned, told at most twice a second', () => {
    const { sent, report } = started();
    report.emit({ type: 'plan', reference: file.reference, files: 2, bytes: 3000, storedBytes: 0 });
    report.emit({ type: 'file-start', ...file, bytes: 2000, resumedBytes: 500 });
    for (let received = 600; received < 1600; received += 100) {
      vi.advanceTimersByTime(100);
      report.emit({ type: 'file-progress', ...file, receivedBytes: received });
    }
    report.stop();
    expect(sent.map(({ progress, total }) => [progress, total])).toEqual([
      [500, 3000],
      [900, 3000],
      [1400, 3000],
    ]);
    expect(sent[0]?.message).toBe('500 B of 2.9 KiB');
  });

  it('of tens of thousands of files does not count them all for each', () => {
    const { sent, report } = started();
    for (let at = 0; at < 40_000; at += 1) {
      report.emit({ type: 'file-start', ...file, path: `${at}`, bytes: 10, resumedBytes: 0 });
      report.emit({ type: 'file-done', ...file, path: `${at}`, bytes: 10, sha256: '' });
    }
    vi.advanceTimersByTime(1000);
    report.stop();
    expect(sent.at(-1)).toMatchObject({ progress: 400_000, total: 400_000 });
  });

  it('rises where a file starts over, and where there is nothing to count', () => {
    const { sent, report } = started();
    report.emit({ type: 'file-start', ...file, bytes: 2000, resumedBytes: 1500 });
    vi.advanceTimersByTime(500);
    report.emit({ type: 'file-progress', ...file, receivedBytes: 10 });
    vi.advanceTimersByTime(500);
    report.emit({ type: 'stage', stage: 'Converting', detail: 'int8' });
    vi.advanceTimersByTime(500);
    report.emit({ type: 'stage-progress', stage: 'Compressing', done: 3, total: 9 });
    report.stop();
    expect(sent.map(({ progress }) => progress)).toEqual([1500, 1501, 1502, 1503]);
    expect(sent.slice(2).map(({ message }) => message)).toEqual(['Converting: int8', 'Compressing: 3 of 9']);
    expect(sent.slice(2).every(({ total }) => total === undefined)).toBe(true);
  });

  it('tells what was held back, and that it goes on where nothing happens for long', () => {
    const { sent, report } = started();
    report.emit({ type: 'resolve', reference: file.reference });
    report.emit({ type: 'stage', stage: 'Converting' });
    expect(sent).toHaveLength(1);
    vi.advanceTimersByTime(1000);
    expect(sent.map(({ message }) => message)).toEqual(['Resolving hf:org/name', 'Converting']);
    vi.advanceTimersByTime(21_000);
    expect(sent.slice(2).map(({ message }) => message)).toEqual(['Converting', 'Converting']);
    report.stop();
    vi.advanceTimersByTime(60_000);
    expect(sent).toHaveLength(4);
  });
});
