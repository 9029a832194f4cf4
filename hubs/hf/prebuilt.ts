/** Conversions to OpenVINO IR that the organisation OpenVINO publishes on Hugging Face, by their names. Pure. */

const ORGANISATION = 'OpenVINO';

/**
 * Where the conversion of a model is looked for, likeliest first: `OpenVINO/<name>-<precision>-ov`, older ones with the
 * name in lower case. What the NPU runs in int4 is compressed by channel and ends in `-int4-cw-ov`. A model of the
 * organisation is its own.
 */
export function prebuiltIds(
  id: string,
  { precision, device }: { readonly precision: string; readonly device: string },
): readonly string[] {
  if (isPublished(id)) return [id];
  const name = id.slice(id.lastIndexOf('/') + 1);
  const kind = precision === 'int4' && device.includes('NPU') ? 'int4-cw' : precision;
  return [...new Set([name, name.toLowerCase()])].map((base) => `${ORGANISATION}/${base}-${kind}-ov`);
}

export function isPublished(id: string): boolean {
  return id.startsWith(`${ORGANISATION}/`) && id.endsWith('-ov');
}
