/** The environments of `optimum`: no single version of transformers converts all architectures. */
import type { Toolchain } from '../src/converter.js';
import { createToolchain } from './toolchain/environment.js';

/** Nearly all of it is PyTorch with CUDA, the same in each. */
const DOWNLOAD_BYTES = 3_250_000_000;
const INSTALLED_BYTES = 6_700_000_000;
/** By the sizes of the wheels: not measured. */
const WITHOUT_CUDA = { downloadBytes: 750_000_000, installedBytes: 2_300_000_000 };

/** Packages whose versions are shown and recorded. */
export const OPTIMUM_PACKAGES = [
  'optimum-intel',
  'transformers',
  'openvino',
  'openvino-tokenizers',
  'nncf',
  'torch',
  'diffusers',
  'sentence-transformers',
  'timm',
] as const;

/** In order of preference, as in `optimum-models.json`, which tells what each converts. */
export const optimumToolchains: readonly Toolchain[] = [
  optimumToolchain('optimum', '5.5'),
  optimumToolchain('optimum-5.0', '5.0'),
  optimumToolchain('optimum-4.57', '4.57'),
  optimumToolchain('optimum-4.53', '4.53'),
];

function optimumToolchain(name: string, transformers: string): Toolchain {
  return createToolchain({
    name,
    title: `optimum-intel, nncf and PyTorch with transformers ${transformers}`,
    downloadBytes: DOWNLOAD_BYTES,
    installedBytes: INSTALLED_BYTES,
    cpu: WITHOUT_CUDA,
    shown: OPTIMUM_PACKAGES,
  });
}
