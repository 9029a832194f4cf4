/** Reading a requirement file as `uv pip compile` writes it, with a hash for every file. Pure. */

export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  /** Where it is wanted, such as `sys_platform == 'linux'`. */
  readonly marker?: string;
  /** Its lines, hashes included. */
  readonly text: string;
}

/** PyTorch's own packages: the ones that its index has as CPU wheels, under the same versions. */
const TORCH: ReadonlySet<string> = new Set(['torch', 'torchvision', 'torchaudio']);
/** What PyTorch needs besides where it computes on a GPU of NVIDIA. */
const CUDA = /^(nvidia|cuda)-|^(pytorch-)?triton$/;

export function packagesOf(lock: string): readonly LockedPackage[] {
  const blocks: string[][] = [];
  for (const line of lock.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    if (/^\s/.test(line)) blocks.at(-1)?.push(line);
    else blocks.push([line]);
  }
  return blocks.flatMap((lines) => {
    const [, name, version, marker] =
      /^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*(.+?))?\s*\\?$/.exec(lines[0] ?? '') ?? [];
    if (name === undefined || version === undefined) return [];
    const text = `${lines.join('\n')}\n`;
    return [{ name, version, text, ...(marker === undefined ? {} : { marker }) }];
  });
}

export function hasTorch(packages: readonly LockedPackage[]): boolean {
  return packages.some(({ name }) => name === 'torch');
}

/** The versions that `torch` may have by the lock, as PyTorch's index of CPU wheels calls them. */
export function torchVersions(packages: readonly LockedPackage[]): readonly string[] {
  return packages.filter(({ name }) => name === 'torch').map(({ version }) => cpuVersion(version));
}

/** Requirements of PyTorch's packages as CPU wheels. They have no hashes: the index tells them with its links. */
export function torchRequirements(packages: readonly LockedPackage[]): string {
  return packages
    .filter(({ name }) => TORCH.has(name))
    .map(({ name, version, marker }) => {
      return `${name}==${cpuVersion(version)}${marker === undefined ? '' : ` ; ${marker}`}\n`;
    })
    .join('');
}

/** All else, without what only a GPU needs. */
export function otherPackages<Named extends Pick<LockedPackage, 'name'>>(
  packages: readonly Named[],
): readonly Named[] {
  return packages.filter(({ name }) => !TORCH.has(name) && !CUDA.test(name));
}

function cpuVersion(version: string): string {
  return `${version}+cpu`;
}
