/** Which boot of which machine this is: what was written in an earlier one may never have reached the disk. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { platform } from 'node:process';
import { promisify } from 'node:util';

/** The clock behind the uptime drifts against the wall clock; boots are further apart than this, seconds. */
const BOOT_STEP_SECONDS = 10;

/**
 * Changes with every boot. Linux: the kernel's boot id. macOS: its boot session. Elsewhere the time of boot; that it
 * may differ by a step within one boot costs one more look at a model, never trust in an unflushed one.
 */
export async function bootIdentity(): Promise<string> {
  try {
    if (platform === 'darwin')
      return (await promisify(execFile)('sysctl', ['-n', 'kern.bootsessionuuid'])).stdout.trim();
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  } catch {
    return `boot-${Math.round(bootTime() / 1000 / BOOT_STEP_SECONDS)}`;
  }
}

/** When this boot began, milliseconds since 1970 on the wall clock. */
export function bootTime(): number {
  return Date.now() - uptime() * 1000;
}
