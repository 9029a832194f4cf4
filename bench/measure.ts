/** Measuring programs beside each other, in alternating runs, so that all meet the same load. Asserts nothing about time. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** What one run cost. */
export interface Cost {
  /** Of the wall clock. */
  readonly seconds: number;
  /** Processor time of the program and its children, user and system. */
  readonly cpuSeconds: number;
  /** Largest resident memory of one of its processes. */
  readonly peakMiB: number;
}

/** Runs programs in a fresh directory. */
export type Run = (directory: string) => readonly Command[];

/** A command line with its environment; nothing else is inherited but PATH. */
export interface Command {
  readonly line: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

interface Row {
  readonly work: string;
  readonly program: string;
  /** Medians of the runs. */
  readonly cost: Cost;
  readonly runs: number;
  /** Median of this program's times over the first one's, run by run. */
  readonly ratio: number;
}

/** Runs what its arguments are and prints what that cost, as the kernel counted it. */
const METER = [
  'import json,resource,subprocess,sys,time',
  's=time.monotonic()',
  'c=subprocess.call(sys.argv[1:],stdout=subprocess.DEVNULL)',
  'u=resource.getrusage(resource.RUSAGE_CHILDREN)',
  'print(json.dumps([time.monotonic()-s,u.ru_utime+u.ru_stime,u.ru_maxrss/1024]))',
  'sys.exit(c)',
].join('\n');

const RESULTS = fileURLToPath(new URL('results/', import.meta.url));

export async function inDirectory<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-bench-'));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(commands: readonly Command[]): Promise<Cost> {
  let total: Cost = { seconds: 0, cpuSeconds: 0, peakMiB: 0 };
  for (const { line, environment } of commands) {
    const { stdout } = await execa('python3', ['-c', METER, ...line], {
      env: { PATH: process.env['PATH'] ?? '', ...environment },
      extendEnv: false,
    });
    const [seconds = NaN, cpuSeconds = NaN, peakMiB = NaN] = stdout
      .replace(/[[\]]/g, '')
      .split(',')
      .map(Number);
    total = {
      seconds: total.seconds + seconds,
      cpuSeconds: total.cpuSeconds + cpuSeconds,
      peakMiB: Math.max(total.peakMiB, peakMiB),
    };
  }
  return total;
}

export interface Bench {
  /**
   * Alternates programs, each in a fresh directory, in one where all ran before (`stored`), or in a given one, where
   * all ran before unless it is `cold`.
   * The first program is what the others are compared with.
   */
  compare(
    work: string,
    times: number,
    programs: Readonly<Record<string, Run>>,
    place?: 'fresh' | 'stored' | { readonly directory: string; readonly cold?: boolean },
  ): Promise<void>;
  /** Writes the table as Markdown and JSON, and prints it. */
  finish(): Promise<void>;
}

export function createBench(): Bench {
  const rows: Row[] = [];

  function add(work: string, costs: ReadonlyMap<string, readonly Cost[]>): void {
    const [first = []] = costs.values();
    for (const [program, runs] of costs) {
      const of = (pick: (cost: Cost) => number): number => median(runs.map(pick));
      rows.push({
        work,
        program,
        runs: runs.length,
        cost: {
          seconds: of(({ seconds }) => seconds),
          cpuSeconds: of(({ cpuSeconds }) => cpuSeconds),
          peakMiB: of(({ peakMiB }) => peakMiB),
        },
        ratio: median(runs.map(({ seconds }, at) => seconds / (first[at]?.seconds ?? NaN))),
      });
    }
    for (const row of rows.slice(-costs.size)) process.stdout.write(`${line(row)}\n`);
  }

  return {
    async compare(work, times, programs, place = 'fresh') {
      const costs = new Map(Object.keys(programs).map((name) => [name, new Array<Cost>()]));
      const round = async (
        at: (use: (directory: string) => Promise<void>) => Promise<void>,
      ): Promise<void> => {
        for (const [name, run] of Object.entries(programs)) {
          await at(async (directory) => {
            costs.get(name)?.push(await measure(run(directory)));
          });
        }
      };
      const repeated = async (directory: string, cold = false): Promise<void> => {
        if (!cold) for (const run of Object.values(programs)) await measure(run(directory));
        for (let time = 0; time < times; time += 1) await round((use) => use(directory));
      };
      if (place === 'fresh') for (let time = 0; time < times; time += 1) await round(inDirectory);
      else if (place === 'stored') await inDirectory((directory) => repeated(directory));
      else await repeated(place.directory, place.cold);
      add(work, costs);
    },
    async finish() {
      await mkdir(RESULTS, { recursive: true });
      const head =
        '| work | program | seconds | CPU s | peak MiB | × modeldl | runs |\n|---|---|---|---|---|---|---|\n';
      await writeFile(join(RESULTS, 'bench.md'), `${head}${rows.map(line).join('\n')}\n`);
      await writeFile(join(RESULTS, 'bench.json'), `${JSON.stringify(rows, undefined, 2)}\n`);
      process.stdout.write(`written to ${RESULTS}\n`);
    },
  };
}

function line({ work, program, cost, ratio, runs }: Row): string {
  const { seconds, cpuSeconds, peakMiB } = cost;
  const cells = [seconds.toFixed(3), cpuSeconds.toFixed(2), peakMiB.toFixed(0), ratio.toFixed(2), runs];
  return `| ${work} | ${program} | ${cells.join(' | ')} |`;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}
