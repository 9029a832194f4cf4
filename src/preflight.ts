/** Whether a conversion has the room it needs, seen before a byte of its model moves. */
import type { Context } from './context.js';
import type { ConversionPlan } from './converter.js';
import { cacheNeed, outputNeed, requireSpace, type OutputRequest } from './space.js';
import { toolchainContext, toolchainNamed } from './toolchains.js';

/**
 * Sums by file system what is fetched, what the conversion writes, what its toolchain takes when it has to be installed,
 * and the output.
 * @throws ModeldlError DISK
 */
export async function requireConversionRoom(
  context: Context,
  { estimate, toolchain, toolchainOptional = false }: ConversionPlan,
  fetchBytes: number,
  output: OutputRequest,
): Promise<void> {
  if (!context.spaceCheck) return;
  const { toInstall } = await toolchainNamed(context, toolchain).status(toolchainContext(context));
  await requireSpace(context, [
    cacheNeed(context, fetchBytes),
    { directory: context.store.root, bytes: estimate.diskBytes, what: 'the conversion' },
    ...(toolchainOptional ? [] : (toInstall?.needs ?? [])),
    // One file as large as the result, whose names are not known yet.
    await outputNeed(context, output, [{ path: '.result', bytes: estimate.resultBytes }]),
  ]);
}
