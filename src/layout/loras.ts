/** Adapters of image generation, as `--source_loras` of `export_model.py` names them. Pure. */
import { ModeldlError } from '../errors.js';

export interface LoraAdapter {
  readonly alias: string;
  /** Model at the hub that holds it: `org/name`. */
  readonly repository: string;
  /** Its file, where the model holds several. */
  readonly file?: string;
  readonly alpha?: number;
}

export interface CompositeLora {
  readonly alias: string;
  readonly components: readonly { readonly adapter: string; readonly alpha: number }[];
}

export interface Loras {
  readonly adapters: readonly LoraAdapter[];
  readonly composites: readonly CompositeLora[];
}

const NUMBER = String.raw`-?\d+(?:\.\d+)?`;
const ADAPTER = new RegExp(
  String.raw`^(?<repository>[\w.-]+/[\w.-]+)(?:@(?<file>[^@:]+\.safetensors))?(?::(?<alpha>${NUMBER}))?$`,
);
const COMPONENT = new RegExp(String.raw`^@(?<adapter>[\w.-]+)(?::(?<alpha>${NUMBER}))?$`);
const ALIAS = /^[\w.-]+$/;

/**
 * Reads `alias=org/name[@file.safetensors][:alpha],…,composite=@alias:0.5+@alias`.
 * @throws ModeldlError USAGE
 */
export function parseLoras(given: string): Loras {
  const adapters: LoraAdapter[] = [];
  const composites: CompositeLora[] = [];
  const aliases = new Set<string>();
  for (const part of given.split(',')) {
    const at = part.indexOf('=');
    const alias = part.slice(0, Math.max(at, 0));
    const target = part.slice(at + 1);
    if (!ALIAS.test(alias)) throw malformed(part);
    if (aliases.has(alias)) throw new ModeldlError('USAGE', `--set source_loras names ${alias} twice`);
    aliases.add(alias);
    if (target.startsWith('@')) composites.push({ alias, components: componentsOf(part, target) });
    else adapters.push(adapterOf(part, alias, target));
  }
  for (const { alias, components } of composites) {
    for (const { adapter } of components) {
      if (adapters.some((known) => known.alias === adapter)) continue;
      throw new ModeldlError(
        'USAGE',
        `--set source_loras: ${alias} is made of ${adapter}, which is not named`,
        {
          hint: `add \`${adapter}=org/name\``,
        },
      );
    }
  }
  return { adapters, composites };
}

function adapterOf(part: string, alias: string, target: string): LoraAdapter {
  const { repository, file, alpha } = ADAPTER.exec(target)?.groups ?? {};
  if (repository === undefined || /(^|\/)\.+(\/|$)/.test(`${repository}/${file ?? ''}`))
    throw malformed(part);
  return {
    alias,
    repository,
    ...(file === undefined ? {} : { file }),
    ...(alpha === undefined ? {} : { alpha: Number(alpha) }),
  };
}

function componentsOf(part: string, target: string): CompositeLora['components'] {
  return target.split('+').map((component) => {
    const { adapter, alpha = '1' } = COMPONENT.exec(component)?.groups ?? {};
    if (adapter === undefined) throw malformed(part);
    return { adapter, alpha: Number(alpha) };
  });
}

function malformed(part: string): ModeldlError {
  return new ModeldlError('USAGE', `Unknown value in --set source_loras: ${part}`, {
    hint: 'expected `alias=org/name[@file.safetensors][:alpha]`, or `alias=@alias:0.5+@alias:0.5`',
  });
}
