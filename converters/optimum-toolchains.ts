/** The toolchains of the `optimum` converter: no version of transformers converts all model types. */
import type { Toolchain } from '../src/converter.js';
import { createToolchain } from './toolchain/environment.js';

/** Packages whose versions are shown and recorded. */
export const OPTIMUM_PACKAGES = [
  'optimum-intel',
  'optimum',
  'transformers',
  'openvino',
  'openvino-tokenizers',
  'nncf',
  'torch',
] as const;

const ofTransformers = (name: string, version: string): Toolchain =>
  createToolchain({
    name,
    title: `optimum-intel, nncf and transformers ${version}`,
    downloadBytes: 3_200_000_000,
    installedBytes: 6_100_000_000,
    shown: OPTIMUM_PACKAGES,
  });

export const optimumToolchains = [
  ofTransformers('optimum', '5.5'),
  ofTransformers('optimum-5.0', '5.0'),
  ofTransformers('optimum-4.57', '4.57'),
  ofTransformers('optimum-4.53', '4.53'),
];
