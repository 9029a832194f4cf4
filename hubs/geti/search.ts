/** Search in the models of a server, project by project: one request for each. What is not trained is left out. */
import type { HubContext, SearchHit, SearchQuery } from '../../src/hub.js';
import { hasWords, tasksMeant } from '../search-names.js';
import { properName } from './choose.js';
import { openPlatform } from './open.js';
import type { Project } from './platform.js';
import { writeId } from './reference.js';

/** Tasks of both generations, in the words of Hugging Face. */
const TASKS: Readonly<Record<string, string>> = {
  classification: 'image-classification',
  detection: 'object-detection',
  rotated_detection: 'object-detection',
  segmentation: 'image-segmentation',
  instance_segmentation: 'image-segmentation',
  keypoint_detection: 'keypoint-detection',
  anomaly: 'anomaly-detection',
};

/** Words are looked for in the names of project and model, and in the task. @throws ModeldlError as {@link Hub.search} */
export async function* search({ text, task }: SearchQuery, context: HubContext): AsyncIterable<SearchHit> {
  const tasks = task === undefined ? undefined : tasksMeant(task, Object.keys(TASKS), TASKS, 'Geti');
  const platform = await openPlatform(context);
  const projects: Project[] = [];
  for await (const project of platform.projects()) projects.push(project);
  for (const project of projects) {
    const models = await platform.models(project);
    for (const model of models) {
      const [newest] = model.versions;
      if (newest === undefined || !hasWords(text, `${project.name} ${model.name}`, model.task)) continue;
      if (tasks !== undefined && !tasks.has(model.task ?? '')) continue;
      yield {
        reference: {
          id: writeId({ project: properName(project, projects), model: properName(model, models) }),
        },
        ...(model.task === undefined ? {} : { task: model.task }),
        page: newest.page,
      };
    }
  }
}
