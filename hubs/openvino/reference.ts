/** How models of the organisation OpenVINO are written as references: by their names alone. Pure. */
import {
  formatStandard,
  malformed,
  parseStandard,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';
import { checkParts } from '../hf/reference.js';
import { fullId, shortId } from './names.js';

export const syntax = {
  hub: 'openvino',
  schemes: ['openvino'],
  parse(rest) {
    const text = `openvino:${rest}`;
    const { id, ...parts } = parseStandard(rest, text);
    return checked({ ...parts, id: shortId(id) ?? id }, text);
  },
  format: (parts) => formatStandard('openvino', parts),
} as const satisfies ReferenceSyntax;

/** @throws ModeldlError USAGE for what could be no name of the organisation, and no revision */
export function checked(parts: ReferenceParts, text: string): ReferenceParts {
  if (parts.id.includes('/')) {
    throw malformed(
      text,
      'names are without an organisation, which is OpenVINO',
      `did you mean \`${formatStandard('hf', parts)}\``,
    );
  }
  checkParts({ ...parts, id: fullId(parts.id) }, text);
  return parts;
}
