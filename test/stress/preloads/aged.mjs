// Runs before the program: what lay on the disk before this process began seems to have changed AGED_MS earlier than
// it did (later, when that is negative). No other way leads there, since nobody can set a change time.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import process from 'node:process';

const began = Date.now();
const shift = Number(process.env.AGED_MS);

function aged(found) {
  if (found === undefined || found.ctimeMs >= began) return found;
  found.ctimeMs -= shift;
  found.ctime = new Date(found.ctimeMs);
  return found;
}

for (const name of ['stat', 'lstat']) {
  const { [name]: look } = fs.promises;
  fs.promises[name] = async (...args) => aged(await look(...args));
  const { [`${name}Sync`]: lookSync } = fs;
  fs[`${name}Sync`] = (...args) => aged(lookSync(...args));
}
syncBuiltinESMExports();
