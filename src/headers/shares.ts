/** How much of a model is of which element type. Pure. */

/** Tensors of one element type. */
export interface TypeShare {
  /** As the format calls it: `BF16`, `Q4_K`. */
  readonly type: string;
  readonly bytes: number;
}

/** Most first. */
export function sharesByType(bytesOfTypes: ReadonlyMap<string, number>): readonly TypeShare[] {
  const shares = [...bytesOfTypes].map(([type, bytes]) => ({ type, bytes }));
  return shares.sort((a, b) => b.bytes - a.bytes);
}
