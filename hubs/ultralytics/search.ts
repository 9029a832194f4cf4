/** Search in the list of weights that Ultralytics' package knows by name, without a request. */
import type { SearchHit, SearchQuery } from '../../src/hub.js';
import { matching, tasksMeant } from '../search-names.js';
import { NAMES, OTHER } from './names.js';

/** Its tasks in the words of Hugging Face. */
const TASKS: Readonly<Record<string, string>> = {
  classify: 'image-classification',
  depth: 'depth-estimation',
  detect: 'object-detection',
  obb: 'object-detection',
  pose: 'keypoint-detection',
  segment: 'image-segmentation',
  semantic: 'image-segmentation',
};
const LIBRARY = 'ultralytics';
/** The letter of the size, after the family's name and before what the weights were trained for. */
const SCALE =
  /^(?:yolov?\d+|yoloe-(?:v8|\d+)|FastSAM-|rtdetr-|sam2?(?:\.1)?_|yolo_nas_)([nstmblxce])(?=\d?u?(?:[-.]|$))/;

interface Entry {
  readonly name: string;
  readonly task?: string;
}

export function* search({ text, task, library }: SearchQuery): Iterable<SearchHit> {
  const tasks = task === undefined ? undefined : tasksMeant(task, Object.keys(NAMES), TASKS, 'Ultralytics');
  if (library !== undefined && library.toLowerCase() !== LIBRARY) return;
  for (const entry of matching(entries(), text)) {
    if (tasks !== undefined && (entry.task === undefined || !tasks.has(entry.task))) continue;
    const scale = scaleOf(entry.name);
    yield {
      reference: { id: entry.name },
      library: LIBRARY,
      ...(entry.task === undefined ? {} : { task: entry.task }),
      ...(scale === undefined ? {} : { scale }),
    };
  }
}

/** `n` of `yolo11n-seg`. */
export function scaleOf(name: string): string | undefined {
  return SCALE.exec(name)?.[1];
}

function* entries(): Iterable<Entry> {
  for (const [task, names] of Object.entries(NAMES)) for (const name of names) yield { name, task };
  for (const name of OTHER) yield { name };
}
