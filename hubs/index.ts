/** The table of built-in hubs. Adding one is one new file and one line here. */
import type { Hub } from '../src/hub.js';
import { file } from './file.js';
import { geti } from './geti.js';
import { hf } from './hf.js';
import { hls } from './hls.js';
import { npm } from './npm.js';
import { oci } from './oci.js';
import { ollama } from './ollama.js';
import { omz } from './omz.js';
import { openvino } from './openvino.js';
import { pipelineZoo } from './pipeline-zoo.js';
import { pypi } from './pypi.js';
import { ultralytics } from './ultralytics.js';
import { url } from './url.js';

export const hubs: readonly Hub[] = [
  hf,
  ollama,
  openvino,
  omz,
  ultralytics,
  geti,
  oci,
  pipelineZoo,
  hls,
  url,
  npm,
  pypi,
  file,
];
