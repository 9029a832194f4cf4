/** What the operations on bundles return; the documents of `--json`. */

export interface BundledModelState {
  /** Pinned, conversion included. */
  readonly reference: string;
  readonly kind: 'pulled' | 'converted';
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  readonly precision: string | null;
  readonly device: string | null;
  readonly license: string | null;
  readonly files: number;
  readonly bytes: number;
}

export interface BundledToolchainState {
  readonly name: string;
  /** Version of Python that its wheels are for. */
  readonly python: string;
  readonly platform: string;
  readonly files: number;
  readonly bytes: number;
}

export interface ShownBundle {
  /** Absolute path. */
  readonly file: string;
  /** `sha256:<hex>` over all that it holds, as `bundle import --digest` takes it. */
  readonly digest: string;
  /** Of the bundle itself. */
  readonly bytes: number;
  /** Of what it holds, each content once. */
  readonly contentBytes: number;
  readonly models: readonly BundledModelState[];
  /** Floating references, and the revisions that they mean where it is imported. */
  readonly references: readonly { readonly reference: string; readonly revision: string }[];
  readonly toolchains: readonly BundledToolchainState[];
}

export interface BundlePlan {
  readonly file: string;
  /** The list of models that it is made of; null where references were named. */
  readonly list: string | null;
  readonly lock: string | null;
  readonly models: readonly {
    readonly reference: string;
    readonly kind: 'pulled' | 'converted';
    readonly stored: boolean;
    /** To fetch before it can be bundled. */
    readonly downloadBytes: number;
    /** Unknown of what has to be converted first. */
    readonly bytes: number | null;
  }[];
  /** Whose wheels go into it. */
  readonly toolchains: readonly { readonly name: string; readonly downloadBytes: number }[];
}

export interface ImportedModel extends BundledModelState {
  /** Absolute: what a program opens. */
  readonly path: string;
  /** It was here already. */
  readonly stored: boolean;
}

export interface ImportedBundle extends Omit<ShownBundle, 'models' | 'toolchains'> {
  readonly models: readonly ImportedModel[];
  readonly toolchains: readonly (BundledToolchainState & { readonly directory: string })[];
  /** Written to the store; what it had already is not. */
  readonly writtenBytes: number;
}
