/** Peers that a bare machine may lack: their tests are skipped there, and must run where everything is required. */
import { execFileSync } from 'node:child_process';
import { it, type TestFunction } from 'vitest';

const REQUIRED = process.env['MODELDL_TEST_REQUIRE'] === 'all';

/** Is this program on the PATH and does it start? */
export function hasProgram(command: string, args: readonly string[] = ['--version']): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * A test that needs a peer: skipped with the peer's name when it is missing, and failing instead when
 * `MODELDL_TEST_REQUIRE=all`, so that a run which claims to be complete cannot skip.
 */
export function requirePeer(
  peer: string,
  present: boolean,
): (name: string, body: TestFunction, timeout?: number) => void {
  if (present)
    return (name, body, timeout) => {
      it(name, body, timeout);
    };
  if (!REQUIRED)
    return (name) => {
      it.skip(`${name} (needs ${peer})`, () => undefined);
    };
  return (name) => {
    it(name, () => {
      throw new Error(`${peer} is missing, and MODELDL_TEST_REQUIRE=all forbids skipping`);
    });
  };
}

/**
 * A test that needs what only the kernel of a machine can give, and no package brings: skipped with its name where that
 * is missing, whatever is required.
 */
export function whereKernelHas(
  feature: string,
  present: boolean,
): (name: string, body: TestFunction, timeout?: number) => void {
  if (present) return requirePeer(feature, true);
  return (name) => {
    it.skip(`${name} (needs ${feature})`, () => undefined);
  };
}
