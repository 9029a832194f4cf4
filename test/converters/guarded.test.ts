/** The starter of installers, `guarded.py`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { plantModules } from '../helpers/planted.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';

describe('guarded.py', () => {
  const test = requirePeer('python3', hasProgram('python3'));

  /** Starts a module of these lines; wrapped, since a subprocess is a promise of its end. */
  async function start(
    lines: readonly string[],
    { detached = false, args = [] }: { readonly detached?: boolean; readonly args?: readonly string[] } = {},
  ) {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'module_of_the_test.py'), lines.join('\n'));
    const guarded = execa(
      'python3',
      ['-u', assetPath('python', 'guarded.py'), 'module_of_the_test', ...args],
      {
        env: { PYTHONPATH: directory, PYTHONDONTWRITEBYTECODE: '1' },
        stdin: 'pipe',
        reject: false,
        detached,
      },
    );
    return { guarded };
  }

  test('runs a module as its main program, with its arguments and exit code, while its input is open', async () => {
    const { guarded } = await start(['import sys', 'print(__name__, *sys.argv[1:])', 'sys.exit(5)'], {
      args: ['install', '--no-input'],
    });
    const { exitCode, stdout, stderr } = await guarded;
    expect(stderr).toBe('');
    expect(stdout).toBe('__main__ install --no-input');
    expect(exitCode).toBe(5);
  });

  test('ends when its input closes, whatever the module is busy with', async () => {
    const { guarded } = await start(['import threading', 'print("busy")', 'threading.Event().wait()']);
    for await (const line of guarded) {
      expect(line).toBe('busy');
      guarded.stdin.end();
    }
    expect((await guarded).exitCode).toBe(2);
  });

  test('takes along what the module started, when it leads a group as installers do', async () => {
    const child = 'import threading; print("alone", flush=True); threading.Event().wait()';
    const { guarded } = await start(
      ['import subprocess, sys', `subprocess.run([sys.executable, "-c", ${JSON.stringify(child)}])`],
      { detached: true },
    );
    // What the child holds open ends with it only.
    for await (const line of guarded) {
      expect(line).toBe('alone');
      guarded.stdin.end();
    }
    expect((await guarded).signal).toBe('SIGKILL');
  });

  test('runs no module of the working directory, neither for `venv` nor for `pip`', async () => {
    const { directory, ran } = await plantModules();
    const environment = join(await temporaryDirectory(), 'environment');
    const inPlanted = { cwd: directory, stdin: 'pipe', reject: false } as const;
    const guarded = assetPath('python', 'guarded.py');
    const made = await execa('python3', [guarded, 'venv', environment], inPlanted);
    expect(made.exitCode, made.stderr).toBe(0);
    const python = join(environment, 'bin', 'python');
    const { exitCode, stdout } = await execa(python, [guarded, 'pip', '--version'], inPlanted);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(environment);
    expect(await ran()).toEqual([]);
  });
});
