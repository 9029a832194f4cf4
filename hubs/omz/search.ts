/** Search in the list of Open Model Zoo's newest release, without a request. */
import type { SearchHit, SearchQuery } from '../../src/hub.js';
import { matching, tasksMeant } from '../search-names.js';
import { commitOf, isComposite, nameOf, pageOf } from './known.js';
import { FOLDERS, FRAMEWORKS, PLACES } from './names.js';

/** Its tasks in the words of Hugging Face, where these are others. */
const TASKS: Readonly<Record<string, string>> = {
  classification: 'image-classification',
  detection: 'object-detection',
  human_pose_estimation: 'keypoint-detection',
  image_translation: 'image-to-image',
  instance_segmentation: 'image-segmentation',
  machine_translation: 'translation',
  monocular_depth_estimation: 'depth-estimation',
  named_entity_recognition: 'token-classification',
  noise_suppression: 'audio-to-audio',
  optical_character_recognition: 'image-to-text',
  semantic_segmentation: 'image-segmentation',
  sound_classification: 'audio-classification',
  speech_recognition: 'automatic-speech-recognition',
  style_transfer: 'image-to-image',
  text_prediction: 'text-generation',
  time_series: 'time-series-forecasting',
  token_recognition: 'token-classification',
};

/** What its descriptions call `dldt` is IR; `tf` is written out. */
const LIBRARIES: Readonly<Record<string, string>> = { tf: 'tensorflow' };
const LIBRARY_OF = byName(FRAMEWORKS);
const FOLDERS_OF = byName(FOLDERS);

interface Entry {
  readonly name: string;
  readonly place: string;
  readonly task: string;
  readonly library: string;
  readonly folders: readonly string[];
}

export function* search({ text, task, precision, library }: SearchQuery): Iterable<SearchHit> {
  const tasks =
    task === undefined ? undefined : tasksMeant(task, Object.keys(PLACES), TASKS, 'Open Model Zoo');
  const commit = commitOf(undefined, text);
  for (const entry of matching(entries(), text)) {
    const folder = entry.folders.find((candidate) => precisionOf(candidate) === precision);
    if (tasks?.has(entry.task) === false) continue;
    if (precision !== undefined && folder === undefined) continue;
    if (
      library !== undefined &&
      (LIBRARIES[library.toLowerCase()] ?? library.toLowerCase()) !== entry.library
    )
      continue;
    yield {
      reference: {
        id: entry.name,
        ...(precision === undefined || folder === undefined ? {} : { subpath: folder }),
      },
      task: entry.task,
      library: entry.library,
      precisions: precision === undefined ? [...new Set(entry.folders.map(precisionOf))] : [precision],
      page: pageOf(entry.place, commit),
    };
  }
}

function* entries(): Iterable<Entry> {
  for (const [task, places] of Object.entries(PLACES)) {
    for (const place of places) {
      const name = nameOf(place);
      const framework = LIBRARY_OF.get(name) ?? 'openvino';
      const library = LIBRARIES[framework] ?? framework;
      // Of a model of several stages each has its folders.
      const folders = isComposite(place) ? [] : (FOLDERS_OF.get(name)?.split(' ') ?? []);
      yield { name, place, task, library, folders };
    }
  }
}

/** `FP16-INT8` has weights of eight bits, and computes the rest in sixteen. */
function precisionOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('-') + 1).toLowerCase();
}

function byName(lists: Readonly<Record<string, readonly string[]>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(lists).flatMap(([key, names]) => names.map((name) => [name, key])));
}
