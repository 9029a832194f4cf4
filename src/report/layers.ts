/** Which layers of a model are of which element type: tensors by the block that their names tell. Pure, and bounded. */
import { sharesByType, type TensorEntry, type TypeShare } from '../headers/shares.js';
import { clip } from './html.js';

/** Tensors of one block, such as `model.layers.0`. */
export interface Block {
  readonly name: string;
  readonly tensors: number;
  readonly bytes: number;
  /** Most first. */
  readonly types: readonly TypeShare[];
}

/** What one set of weights consists of. */
export interface Layers {
  readonly tensors: number;
  readonly bytes: number;
  /** Largest first. */
  readonly blocks: readonly Block[];
  readonly leftOut: { readonly blocks: number; readonly tensors: number; readonly bytes: number };
  /** Largest first. */
  readonly largest: readonly TensorEntry[];
}

export interface LayerCollector {
  add(tensor: TensorEntry): void;
  layers(): Layers;
}

export const MOST_BLOCKS = 40;
export const MOST_LARGEST = 12;
/** Names are told apart by no more than that. */
const LONGEST_NAME = 160;
const MOST_SIDES = 8;

/** Before the first dot of PyTorch's names in an IR, which safetensors of the same model lack. */
const ROOT = /^(self|__module)$/;
/** A repeated part of a model: `0` of `layers.0`, `layer_0`. */
const REPEATED = /^(\d+|(layer|block|stage)s?_?\d+)$/i;

/**
 * `model.layers.0.self_attn.q_proj.weight` → `model.layers.0`: up to the first number, else all but the last word. Names of one
 * word that only a number tells apart are one block: `Constant_12` → `Constant_*`.
 */
export function blockOf(name: string): string {
  const [head = '', ...rest] = name.split('/');
  // Behind the module an IR names what was done with it: `self.encoder.weight/scale`.
  const path = rest.length > 0 && head.includes('.') ? head.split('.') : name.split(/[./]/);
  const words = path.filter((word) => word !== '');
  if (words.length > 1 && ROOT.test(words[0] ?? '')) words.shift();
  const repeated = words.findIndex((word, at) => at > 0 && REPEATED.test(word));
  if (repeated > 0) return words.slice(0, repeated + 1).join('.');
  if (words.length > 1) return words.slice(0, -1).join('.');
  return (words[0] ?? '').replace(/\d+$/, '*');
}

export function createLayers(): LayerCollector {
  const blocks = new Map<string, { tensors: number; readonly bytesOf: Map<string, number> }>();
  const largest: TensorEntry[] = [];
  return {
    add({ name, type, shape, bytes }) {
      const block = blockOf(clip(name, LONGEST_NAME));
      let known = blocks.get(block);
      if (known === undefined) {
        known = { tensors: 0, bytesOf: new Map() };
        blocks.set(block, known);
      }
      known.tensors += 1;
      known.bytesOf.set(type, (known.bytesOf.get(type) ?? 0) + bytes);
      const least = largest.at(-1);
      if (largest.length >= MOST_LARGEST && least !== undefined && bytes <= least.bytes) return;
      const after = largest.findIndex((other) => other.bytes < bytes);
      const entry = { name: clip(name, LONGEST_NAME), type, shape: shape.slice(0, MOST_SIDES), bytes };
      largest.splice(after < 0 ? largest.length : after, 0, entry);
      largest.splice(MOST_LARGEST);
    },
    layers() {
      const all = [...blocks].map(([name, { tensors, bytesOf }]): Block => {
        const types = sharesByType(bytesOf);
        return { name, tensors, bytes: bytesIn(types), types };
      });
      // Ties by name, so that a page is the same however the tensors came.
      all.sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1));
      const rest = all.slice(MOST_BLOCKS);
      return {
        tensors: tensorsIn(all),
        bytes: bytesIn(all),
        blocks: all.slice(0, MOST_BLOCKS),
        leftOut: { blocks: rest.length, tensors: tensorsIn(rest), bytes: bytesIn(rest) },
        largest,
      };
    },
  };
}

export function tensorsIn(blocks: readonly Pick<Block, 'tensors'>[]): number {
  return blocks.reduce((sum, { tensors }) => sum + tensors, 0);
}

export function bytesIn(shares: readonly { readonly bytes: number }[]): number {
  return shares.reduce((sum, { bytes }) => sum + bytes, 0);
}
