/** Memory, and where other programs put what is temporary. */
import { platform } from 'node:process';
import { memoryOf, readMemory } from '../memory.js';
import { freeBytes } from '../store/space.js';
import { formatSize, type Check, type Finding, type Patient } from './check.js';
import { mountHere, runsPrograms, withProbe } from './disk.js';

/** The frameworks alone take some 0.9 GiB before a model is loaded (`MEMORY_BASE_BYTES` of the converters). */
const LITTLE_MEMORY_BYTES = 1.5 * 1024 ** 3;
/** What Python and npm unpack there while they install. */
const LITTLE_TEMPORARY_BYTES = 200 * 1024 ** 2;

export function machineChecks(): readonly Check[] {
  return [
    { name: 'memory', topic: 'machine', run: async () => [memoryFinding(memoryOf(await readMemory()))] },
    {
      name: 'temporary',
      topic: 'machine',
      lateFix: 'set `TMPDIR` to a directory on a local disk',
      run: async ({ context }) => [await temporaryFinding(temporaryDirectory(context.environment))],
    },
  ];
}

/** Pure. */
export function memoryFinding({ mostBytes, nowBytes, limit }: ReturnType<typeof memoryOf>): Finding {
  const name = 'memory';
  const facts = { freeBytes: nowBytes, mostBytes: mostBytes ?? null, limit };
  const most = mostBytes === undefined ? '' : `, at most ${formatSize(mostBytes)} by ${limit}`;
  const message = `${formatSize(nowBytes)} of memory free${most}`;
  if ((mostBytes ?? Infinity) < LITTLE_MEMORY_BYTES)
    return {
      name,
      status: 'warning',
      message: `${message}: too little for most conversions`,
      fix: 'raise the limit, or convert on a larger machine',
      facts,
    };
  if (nowBytes < LITTLE_MEMORY_BYTES)
    return {
      name,
      status: 'warning',
      message: `${message}: conversions may be slow, or be ended by the system`,
      fix: 'end other programs before converting',
      facts,
    };
  return { name, status: 'ok', message, facts };
}

/** As Python and pip look for it. */
function temporaryDirectory(environment: Patient['context']['environment']): string {
  const set = [environment['TMPDIR'], environment['TEMP'], environment['TMP']].find(
    (value) => value !== undefined && value !== '',
  );
  return set ?? (platform === 'win32' ? 'C:\\Windows\\Temp' : '/tmp');
}

async function temporaryFinding(directory: string): Promise<Finding> {
  const name = 'temporary';
  const fix = 'set `TMPDIR` to a directory that you may write to, with space';
  const probed = await withProbe(directory, (probe) => runsPrograms(probe)).catch((error: unknown) => ({
    error,
  }));
  const facts = { directory };
  if (typeof probed === 'object') {
    const why = probed.error instanceof Error ? probed.error.message : String(probed.error);
    return { name, status: 'warning', message: `The temporary directory cannot be used: ${why}`, fix, facts };
  }
  const free = await freeBytes(directory);
  const isTold = Number.isFinite(free);
  const message = isTold ? `${directory}, ${formatSize(free)} free` : directory;
  const all = { ...facts, freeBytes: isTold ? free : null, runsPrograms: probed };
  if (free < LITTLE_TEMPORARY_BYTES) return { name, status: 'warning', message, fix, facts: all };
  if (!probed) {
    const noexec = await mountHere(directory);
    const why = noexec?.options.includes('noexec') === true ? ', mounted `noexec`' : '';
    // Environments are made in the cache, so that nothing of modeldl runs there.
    return {
      name,
      status: 'ok',
      message: `${message}; programs do not run there${why}, and none has to`,
      facts: all,
    };
  }
  return { name, status: 'ok', message, facts: all };
}
