/** Models of a server by a text, for a search over hubs. */
import type { HubContext } from '../../src/hub.js';
import { openPlatform } from './open.js';
import { written } from './reference.js';
import { properName } from './choose.js';
import type { Project } from './platform.js';

export interface ListedModel {
  /** As a user types it. */
  readonly reference: string;
  readonly task?: string;
  /** Trained ones. */
  readonly versions: number;
}

/**
 * Models whose name or whose project's name holds a text in any case, page by page: one request and one page for each
 * project. Those that are not trained are left out.
 * @throws ModeldlError AUTH, NETWORK, CONFIG
 */
export async function* listModels(context: HubContext, text: string): AsyncGenerator<readonly ListedModel[]> {
  const platform = await openPlatform(context);
  const projects: Project[] = [];
  for await (const project of platform.projects()) projects.push(project);
  const wanted = text.toLowerCase();
  for (const project of projects) {
    const inProject = project.name.toLowerCase().includes(wanted);
    const models = await platform.models(project);
    yield models
      .filter(
        ({ name, versions }) => versions.length > 0 && (inProject || name.toLowerCase().includes(wanted)),
      )
      .map((model) => ({
        reference: written({ project: properName(project, projects), model: properName(model, models) }),
        ...(model.task === undefined ? {} : { task: model.task }),
        versions: model.versions.length,
      }));
  }
}
