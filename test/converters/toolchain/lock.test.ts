import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { assetPath } from '../../../converters/assets.js';
import {
  hasTorch,
  otherPackages,
  packagesOf,
  torchRequirements,
  torchVersions,
} from '../../../converters/toolchain/lock.js';
import { torchBuilds } from '../../../converters/toolchain/sources.js';

const LOCK = `# made by uv
accelerate==1.9.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
cuda-bindings==13.0.1 ; platform_machine == 'x86_64' and sys_platform == 'linux' \\
    --hash=sha256:ba
datasets[audio]==4.0.0 \\
    --hash=sha256:bb
nvidia-cublas==13.0.0.19 ; sys_platform == 'linux' \\
    --hash=sha256:ca
torch==2.2.2 ; platform_machine == 'x86_64' and sys_platform == 'darwin' \\
    --hash=sha256:da
torch==2.15.0 ; platform_machine != 'x86_64' or sys_platform != 'darwin' \\
    --hash=sha256:db
torchvision==0.30.0 \\
    --hash=sha256:ea
triton==3.7.0 ; sys_platform == 'linux' \\
    --hash=sha256:fa
`;
const PACKAGES = packagesOf(LOCK);

describe('a lock with PyTorch', () => {
  it('is split into its packages and CPU wheels of PyTorch, without what only a GPU needs', () => {
    expect(torchRequirements(PACKAGES)).toBe(
      [
        "torch==2.2.2+cpu ; platform_machine == 'x86_64' and sys_platform == 'darwin'",
        "torch==2.15.0+cpu ; platform_machine != 'x86_64' or sys_platform != 'darwin'",
        'torchvision==0.30.0+cpu',
        '',
      ].join('\n'),
    );
    expect(otherPackages(PACKAGES).map(({ text }) => text)).toEqual([
      'accelerate==1.9.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n',
      'datasets[audio]==4.0.0 \\\n    --hash=sha256:bb\n',
    ]);
    expect(torchVersions(PACKAGES)).toEqual(['2.2.2+cpu', '2.15.0+cpu']);
  });

  it.each([
    ['auto', 'linux-x86_64', ['cpu', 'locked']],
    ['cpu', 'linux-aarch64', ['cpu']],
    ['https://mirror.example/whl/cpu', 'linux-x86_64', ['cpu']],
    ['index', 'linux-x86_64', ['locked']],
    ['auto', 'macosx-14.0-arm64', ['locked']],
    ['cpu', 'win-amd64', ['locked']],
  ])('with `toolchains.torch` %s on %s may have %s', (torch, platform, builds) => {
    expect(torchBuilds({ torch }, PACKAGES, platform)).toEqual(builds);
    expect(torchBuilds({ torch }, [], platform)).toEqual(['locked']);
  });
});

describe('the locks that are shipped', async () => {
  const names = (await readdir(assetPath('requirements'))).filter((name) => name.endsWith('.txt'));
  it.each(names)('%s is read to the last package, each with hashes', async (name) => {
    const lock = await readFile(assetPath('requirements', name), 'utf8');
    const packages = packagesOf(lock);
    expect(packages.length).toBe(lock.split('\n').filter((line) => /^[\w.-]+.*==/.test(line)).length);
    expect(packages.length).toBeGreaterThan(10);
    for (const { text } of packages) expect(text).toContain('--hash=sha256:');
    expect(hasTorch(packages)).toBe(/^torch==/m.test(lock));
  });
});
