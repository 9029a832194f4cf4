// Runs before the program: every step that decides about a claim succeeds, whoever took it before, as renames and
// locks do on a file system that lies. So each process believes that it alone owns whatever it asks for.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { sep } from 'node:path';

const { rename, lstat, rm } = fs.promises;
const isClaim = (path) => String(path).includes(`${sep}v1${sep}claims${sep}`);

fs.promises.rename = async (from, to) => {
  if (!isClaim(to)) return rename(from, to);
  if (!isClaim(from)) await rm(from, { recursive: true, force: true });
};
// The one look at a claim is whether it is still there.
fs.promises.lstat = async (path, options) => (isClaim(path) ? undefined : lstat(path, options));
syncBuiltinESMExports();
