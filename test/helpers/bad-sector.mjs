// Runs before the program: what lies at the inode BAD_INODE cannot be read, as a disk that gives up a sector answers.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import process from 'node:process';

const inode = Number(process.env.BAD_INODE);
const { read } = fs;

fs.read = (fd, ...rest) => {
  if (fs.fstatSync(fd).ino !== inode) return read(fd, ...rest);
  const error = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
  process.nextTick(rest.at(-1), error);
};
syncBuiltinESMExports();
