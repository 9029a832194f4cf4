/** Functions of the Python worker by themselves, without the packages that it works with. */
import { execa } from 'execa';
import { describe, expect } from 'vitest';
import { assetPath } from '../../../converters/assets.js';
import { hasProgram, requirePeer } from '../../helpers/require.js';

const test = requirePeer('python3', hasProgram('python3'));

const HEAR = `
import json, logging, sys
sys.path.insert(0, sys.argv[1])
import optimum_worker
task, *messages = json.load(sys.stdin)
random = optimum_worker.RandomWeights()
logging.getLogger("transformers").addHandler(random)
for message in messages:
    logging.getLogger("transformers.modeling_utils").warning(message)
print(json.dumps(random.heard(task)))
`;

async function heard(task: string, ...messages: readonly string[]): Promise<unknown> {
  const { stdout } = await execa('python3', ['-I', '-B', '-c', HEAR, assetPath('python')], {
    input: JSON.stringify([task, ...messages]),
  });
  return JSON.parse(stdout);
}

describe('weights that the files of a model lack', () => {
  test('are heard of as transformers 4 says it', async () => {
    const message =
      'Some weights of LlamaForSequenceClassification were not initialized from the model checkpoint at llama and are ' +
      "newly initialized: ['score.bias', 'score.weight']\nYou should probably TRAIN this model on a down-stream task.";
    expect(await heard('text-classification', message, 'Something else')).toEqual([
      'score.bias',
      'score.weight',
    ]);
  });

  test('are heard of as transformers 5 lists them, and no others', async () => {
    const table = [
      '\u001b[1mLlamaForSequenceClassification LOAD REPORT\u001b[0m from: llama',
      'Key            | Status     | ',
      '---------------+------------+-',
      'lm_head.weight | \u001b[34mUNEXPECTED\u001b[0m | ',
      'score.weight   | \u001b[31mMISSING\u001b[0m    | ',
      '',
      'Notes:',
      '- \u001b[31mMISSING:\u001b[0m\tthose params were newly initialized because missing from the checkpoint.',
    ];
    expect(await heard('text-classification', table.join('\n'))).toEqual(['score.weight']);
  });

  test('are of no matter in a pooler behind the states that are taken', async () => {
    const message = "newly initialized: ['bert.pooler.dense.weight', 'bert.embeddings.weight']";
    expect(await heard('feature-extraction', message)).toEqual(['bert.embeddings.weight']);
    expect(await heard('text-classification', message)).toHaveLength(2);
  });
});
