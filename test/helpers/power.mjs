/**
 * Loaded before the program (`node --import`): says that this is another boot of the machine, and cuts the power of a
 * disk at the n-th change that the program makes there, which it dies of, or has to live with.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const boot = JSON.parse(process.env.MODELDL_TEST_BOOT);
const cut = JSON.parse(process.env.MODELDL_TEST_CUT ?? 'null');

const { readFile } = fs.promises;
fs.promises.readFile = (path, ...rest) =>
  path === '/proc/sys/kernel/random/boot_id' ? Promise.resolve(`${boot.id}\n`) : readFile(path, ...rest);
// The machine is up for a while, and no test waits for that: its own clock is ahead of the file system's instead.
const { now } = Date;
Date.now = () => now() + boot.upForMs;
os.uptime = () => (now() + boot.upForMs - boot.at) / 1000;

let changes = 0;

function change() {
  changes += 1;
  if (changes !== cut.change) return;
  if (cut.commit) fs.fsyncSync(fs.openSync(join(cut.directory, 'committed'), 'w'));
  execFileSync(cut.command, cut.cutArguments, { stdio: 'ignore' });
  if (cut.dies) process.kill(process.pid, 'SIGKILL');
}

if (cut !== null) {
  const isThere = (path) => typeof path === 'string' && path.startsWith(cut.directory);
  for (const name of [
    'appendFile',
    'chmod',
    'copyFile',
    'link',
    'mkdir',
    'open',
    'rename',
    'rm',
    'rmdir',
    'unlink',
    'utimes',
    'writeFile',
  ]) {
    const original = fs.promises[name];
    fs.promises[name] = (path, ...rest) => {
      if (isThere(path)) change();
      return original(path, ...rest);
    };
  }
  // Small files, links and what a sweep moves go through these.
  for (const name of ['fchmodSync', 'futimesSync', 'linkSync', 'openSync', 'renameSync', 'writeSync']) {
    const original = fs[name];
    fs[name] = (path, ...rest) => {
      if (isThere(path) || typeof path === 'number') change();
      return original(path, ...rest);
    };
  }
  const handle = await fs.promises.open(fileURLToPath(import.meta.url));
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  for (const name of ['write', 'writeFile', 'sync', 'datasync', 'truncate']) {
    const original = prototype[name];
    prototype[name] = function (...rest) {
      change();
      return original.apply(this, rest);
    };
  }
}
syncBuiltinESMExports();
