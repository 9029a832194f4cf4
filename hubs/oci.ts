/** Models in OCI registries: ModelPack, files of ORAS, Docker's model artifacts, layers that are archives. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub } from '../src/hub.js';
import { allowAddress } from './oci/address.js';
import { holding } from './oci/holding.js';
import { checked, syntax, tagToWrite } from './oci/reference.js';

export const oci = {
  name: 'oci',
  title: 'OCI registries',
  syntax,
  loginHint: 'run `docker login HOST`, `podman login HOST` or `oras login HOST`: their logins are used',
  settings: {
    insecure: {
      description:
        'Registries, with their port, that are asked without encryption, as those of this machine are',
      type: 'string[]',
      trust: true,
    },
    secure: {
      description: 'Registries of this machine, with their port, that are asked with encryption',
      type: 'string[]',
      trust: true,
    },
  },
  allow: allowAddress,
  answerChallenge: async (challenge, context) =>
    (await import('./oci/access.js')).answerChallenge(challenge, context),
  async resolve(reference, context) {
    throwIfAborted(context.signal);
    checked(reference, syntax.format(reference));
    const { resolve } = await import('./oci/resolve.js');
    return resolve(reference, context);
  },
  push: async (model, target, context) => (await import('./oci/push.js')).push(model, target, context),
  checkTarget: (target) => void tagToWrite(target),
  holding,
} as const satisfies Hub;
