/** How much of a model is of which element type. Pure. */

/** Tensors of one element type. */
export interface TypeShare {
  /** As the format calls it: `BF16`, `Q4_K`. */
  readonly type: string;
  readonly bytes: number;
}

/** One tensor of a set of weights, or one constant of an IR. */
export interface TensorEntry {
  readonly name: string;
  /** As the format calls it. */
  readonly type: string;
  /** In the order of the format; empty for a scalar. */
  readonly shape: readonly (number | string)[];
  readonly bytes: number;
}

/** Told of each tensor. What tells it may turn out to be damaged later. */
export type OnTensor = (tensor: TensorEntry) => void;

/** Most first. */
export function sharesByType(bytesOfTypes: ReadonlyMap<string, number>): readonly TypeShare[] {
  const shares = [...bytesOfTypes].map(([type, bytes]) => ({ type, bytes }));
  return shares.sort((a, b) => b.bytes - a.bytes);
}
