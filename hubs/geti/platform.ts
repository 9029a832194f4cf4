/** What both generations of Geti have in common: projects, models that are trained again and again, and their variants. */
import type { HubContext, Identity } from '../../src/hub.js';

export interface Project {
  readonly id: string;
  readonly name: string;
}

/** One architecture in a project; each training makes a version of it. */
export interface Model {
  readonly id: string;
  readonly name: string;
  /** The task that it does: `detection`. */
  readonly task?: string;
  /** Trained ones whose files are there, newest first. None while the first training runs. */
  readonly versions: readonly Version[];
}

export interface Version {
  readonly id: string;
  /** What may follow `@`, the usual one first: `3`, `76e07d18`. */
  readonly names: readonly string[];
  /** A name of its own, where it has one: `YOLOX-X (76e07d18)`. */
  readonly title?: string;
  /** Page for people. */
  readonly page: string;
}

/** One format and precision of a version: what is downloaded. */
export interface Variant {
  readonly id: string;
  /** `openvino`, `onnx`, `pytorch`. */
  readonly format: string;
  /** `fp16`, `int8`. */
  readonly precision: string;
  /** It has a second output that explains what it sees. */
  readonly explains: boolean;
  /** A zip of its files. */
  readonly url: string;
}

export interface Platform {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** One request for a page of them. @throws ModeldlError AUTH, NETWORK */
  projects(): AsyncIterable<Project>;
  /** One request. @throws ModeldlError AUTH, NETWORK, NOT_FOUND */
  models(project: Project): Promise<readonly Model[]>;
  /** Likeliest first where several have one format and precision. @throws ModeldlError AUTH, NETWORK, NOT_FOUND */
  variants(project: Project, model: Model, version: Version): Promise<readonly Variant[]>;
  /** @throws ModeldlError AUTH, NETWORK, USAGE where there are no accounts */
  whoami(): Promise<Identity>;
}

/** A setting that is text, if it is set. */
export function textSetting({ settings }: HubContext, key: string): string | undefined {
  const value = settings[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
