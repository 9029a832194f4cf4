/**
 * What operations return. These are the JSON documents that scripts read (see README.md), so their keys are a
 * contract: they are extended, never renamed. Sizes are bytes, times ISO 8601 in UTC.
 */
import type { CheckReport, ConversionPlan, ConversionRecipe } from './converter.js';
import type { ModeldlError } from './errors.js';
import type { Identity } from './hub.js';

/** One result per reference that succeeded, in the order given, and one error per reference that did not. */
export interface Outcome<Result> {
  readonly results: readonly Result[];
  /** How long each result took, in their order; part of no document. */
  readonly seconds?: readonly number[];
  /** Each has `details.reference`. */
  readonly errors: readonly ModeldlError[];
}

export interface ResultFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface LeftOutFile {
  readonly path: string;
  readonly bytes?: number;
}

export interface PulledModel {
  /** Canonical and pinned: `hf:org/name@<full revision>`. */
  readonly reference: string;
  /** What the caller asked for. */
  readonly requested: string;
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  /** Directory, or the file when the reference named one. */
  readonly path: string;
  /** Same, at `--output`. */
  readonly output: string | null;
  readonly bytes: number;
  readonly downloadedBytes: number;
  /** Linked or copied from a cache of another tool, or from one that is only read, instead of being fetched. */
  readonly adoptedBytes: number;
  /** Nothing had to be fetched. */
  readonly cached: boolean;
  /** The hub was unreachable and a stored revision was used. */
  readonly stale: boolean;
  readonly license: string | null;
  readonly files: readonly ResultFile[];
  readonly leftOut: readonly LeftOutFile[];
}

export interface PullPlan {
  readonly reference: string;
  readonly requested: string;
  readonly hub: string;
  readonly id: string;
  readonly revision: string | null;
  readonly files: readonly {
    readonly path: string;
    readonly bytes: number | null;
    readonly stored: boolean;
    /** Not stored, and in another cache on this machine as far as names and sizes tell. */
    readonly elsewhere: boolean;
  }[];
  readonly leftOut: readonly LeftOutFile[];
  readonly bytes: number;
  readonly downloadBytes: number;
  /** Of the files that are elsewhere: not fetched if they are what they are said to be. */
  readonly adoptBytes: number;
  /** True when the files are members of an archive that has to be fetched before they can be listed. */
  readonly archive: boolean;
}

export interface ConvertedModel extends PulledModel {
  /** Of a published conversion the model that was asked for, whose revision nobody needs to know. */
  readonly origin: { readonly reference: string; readonly revision: string | null };
  /** Null when the conversion was taken as it is published: nothing was run here. */
  readonly converter: string | null;
  readonly precision: string;
  readonly device: string;
  readonly task: string | null;
  readonly toolchain: {
    readonly name: string;
    readonly versions: Readonly<Record<string, string>>;
  } | null;
  readonly key: string | null;
  readonly seconds: number;
  readonly check: CheckReport | null;
  /** Where a published conversion comes from. */
  readonly prebuilt: Prebuilt | null;
  /** What was written for a server. */
  readonly layout: WrittenLayout | null;
}

/** A model that was written to a hub. */
export interface ExportedModel {
  /** The stored model. */
  readonly reference: string;
  /** Hub whose program has it now. */
  readonly to: string;
  /** What the program calls it. */
  readonly name: string;
  /** Of the program's store, absolute. */
  readonly directory: string;
  /** The file that the program knows it by, absolute. */
  readonly path: string;
  readonly state: 'added' | 'replaced' | 'unchanged';
  readonly files: number;
  readonly bytes: number;
  /** Of files that share their bytes with the cache, that do not, and that were there. */
  readonly linkedBytes: number;
  readonly writtenBytes: number;
  readonly presentBytes: number;
}

/** Models that were written to a directory or an archive. */
export interface ExportedTree {
  /** Absolute; `-` for stdout. */
  readonly target: string;
  readonly layout: string;
  /** Of all models together, with what the layout adds. */
  readonly files: number;
  readonly bytes: number;
  readonly writtenBytes: number;
  /** Of files that were there already. */
  readonly presentBytes: number;
  /** As it was written, compressed or not; null for a directory. */
  readonly archive: { readonly bytes: number; readonly sha256: string } | null;
  readonly models: readonly {
    /** Pinned. */
    readonly reference: string;
    readonly requested: string;
    /** In the layout: a directory below the target, empty for the target itself, or what its program calls it. */
    readonly name: string;
    readonly bytes: number;
    readonly license: string | null;
  }[];
}

export interface ExportPlan {
  readonly target: string;
  readonly layout: string;
  /** Of the models themselves. */
  readonly files: number;
  readonly bytes: number;
  /** To fetch first. */
  readonly downloadBytes: number;
  readonly models: readonly {
    readonly reference: string;
    readonly requested: string;
    readonly bytes: number;
    readonly downloadBytes: number;
    readonly files: readonly {
      readonly path: string;
      readonly bytes: number | null;
      readonly stored: boolean;
    }[];
  }[];
}

export interface PushedModel {
  /** Pinned, as it is pulled from there. */
  readonly reference: string;
  /** As it was named. */
  readonly target: string;
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  /** The stored model. */
  readonly origin: string;
  readonly files: number;
  readonly bytes: number;
  readonly sentBytes: number;
  /** Not sent, since the hub had them there. */
  readonly presentBytes: number;
  /** Not sent, since the hub took them from another of its models. */
  readonly mountedBytes: number;
}

/** A conversion that is published at a hub. */
export interface Prebuilt {
  readonly reference: string;
  /** A file of it says that it has the precision; false when there is none to say so but its name. */
  readonly confirmed: boolean;
}

/** A model in the layout of a server; paths are absolute. */
export interface WrittenLayout {
  readonly kind: 'ovms' | 'model-download';
  /** Name that the server knows it by. */
  readonly name: string;
  /** In the words of `export_model.py`, or `plain`. */
  readonly task: string;
  readonly ovmsVersion: string;
  readonly directory: string;
  /** Where the model's files are: the directory, or a version below it. */
  readonly files: string;
  readonly graph: string | null;
  readonly config: string | null;
}

export interface ConvertPlan {
  readonly reference: string;
  readonly converter: string | null;
  readonly precision: string;
  readonly device: string;
  readonly task: string | null;
  readonly toolchain: {
    readonly name: string;
    readonly state: string;
    /** What installing it would fetch and take on disk at most; 0 where it is there. */
    readonly downloadBytes: number;
    readonly installedBytes: number;
  } | null;
  readonly steps: readonly string[];
  readonly adjustments: readonly string[];
  readonly settings: Readonly<Record<string, unknown>>;
  /** Null when the hub does not name the sha256 of all that is read. */
  readonly key: string | null;
  /** The conversion is stored already. */
  readonly stored: boolean;
  /** Bytes of the model to fetch first. */
  readonly downloadBytes: number;
  readonly estimate: ConversionPlan['estimate'];
  /** The published conversion that would be taken, or that `--prebuilt` would take. */
  readonly prebuilt: { readonly reference: string; readonly taken: boolean } | null;
  readonly layout: WrittenLayout | null;
}

/** A model of a project's list, as `sync` brought it in. */
export type SyncedModel = (PulledModel | ConvertedModel) & {
  /** As the list has it. */
  readonly name: string | null;
  readonly kind: 'pulled' | 'converted';
  /** The revision is the lock's. */
  readonly locked: boolean;
};

export type SyncPlan = (PullPlan | ConvertPlan) & {
  readonly name: string | null;
  readonly kind: 'pulled' | 'converted';
  readonly locked: boolean;
};

export interface SyncOutcome<Result> extends Outcome<Result> {
  /** The list of models. */
  readonly file: string;
  /** Null where there is none. */
  readonly lock: string | null;
}

/** A model as a lock now has it. */
export interface LockedResult {
  /** Pinned. */
  readonly reference: string;
  readonly requested: string;
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  readonly files: number;
  /** Of the files that are chosen; 0 for those whose size nobody tells. */
  readonly bytes: number;
  readonly converter: string | null;
  readonly key: string | null;
  /** Against the lock that was there. */
  readonly change: 'new' | 'changed' | 'same';
}

export interface LockOutcome extends Outcome<LockedResult> {
  readonly file: string;
  readonly lock: string;
  /** Requests that the lock had and the list no longer has. */
  readonly removed: readonly string[];
  /** The lock was written: nothing failed, something differs, and it was not only planned. */
  readonly written: boolean;
}

/** Under which name a CI system keeps the cache. */
export interface CacheKey {
  readonly key: string;
  /** What keys of other locks begin with too, on this platform. */
  readonly prefix: string;
  /** The list of models. */
  readonly file: string;
  readonly lock: string;
  /** As Node.js calls them: `linux-x64`. */
  readonly platform: string;
  /** Of the cache. */
  readonly layout: string;
  /** Digests of the toolchains of the lock's conversions, by name. */
  readonly toolchains: Readonly<Record<string, string>>;
}

export interface ListedModel {
  readonly reference: string;
  readonly kind: 'pulled' | 'converted';
  readonly precision: string | null;
  readonly device: string | null;
  readonly path: string;
  /** The cache that it lies in: the user's own, or one of `cache.readFrom`. */
  readonly cache: string;
  readonly bytes: number;
  readonly pulledAt: string;
  readonly lastUsedAt: string | null;
}

export interface ModelList {
  readonly models: readonly ListedModel[];
  /** Of all that are listed, but `physicalBytes` of the user's own cache. */
  readonly totals: { readonly models: number; readonly bytes: number; readonly physicalBytes: number };
}

/** What a model takes of the cache's disk. */
export interface ModelUsage {
  readonly reference: string;
  /** Of files that no other model has: what removing it gives back. */
  readonly ownBytes: number;
  /** Of files that other models have as well. */
  readonly sharedBytes: number;
}

export interface SpaceUsage {
  /** Of the user's own cache, largest first. */
  readonly models: readonly ModelUsage[];
  /** What all of them take together, and of that what several have, each byte once. */
  readonly physicalBytes: number;
  readonly sharedBytes: number;
}

/** A model at a hub. */
export interface FoundModel {
  /** As `pull` takes it. */
  readonly reference: string;
  readonly hub: string;
  readonly id: string;
  readonly task: string | null;
  readonly library: string | null;
  readonly license: string | null;
  /** As the hub tells them; empty when it tells none. */
  readonly precisions: readonly string[];
  /** The hub's word for the model's size within its family: `n`, `x`. */
  readonly scale: string | null;
  readonly parameters: number | null;
  /** Of its weights. */
  readonly bytes: number | null;
  readonly downloads: number | null;
  readonly likes: number | null;
  readonly updatedAt: string | null;
  readonly gated: boolean | null;
  readonly private: boolean | null;
  readonly page: string | null;
}

export interface SearchResult {
  readonly models: readonly FoundModel[];
  /** Hubs that answered. */
  readonly hubs: readonly {
    readonly hub: string;
    readonly models: number;
    /** It has more than were asked for. */
    readonly more: boolean;
    readonly note: string | null;
  }[];
  /** Hubs that were not asked, since nobody named them and they cannot answer this. */
  readonly leftOut: readonly { readonly hub: string; readonly reason: string }[];
  /** By hubs that did not answer, or not to the end; `details.hub` says which. */
  readonly errors: readonly ModeldlError[];
}

export interface ShownModel {
  readonly reference: string;
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  /** Null when the model is not stored and was looked up at its hub. */
  readonly path: string | null;
  readonly cache: string | null;
  readonly kind: 'pulled' | 'converted' | 'remote';
  readonly bytes: number;
  readonly license: string | null;
  readonly gated: boolean | null;
  readonly task: string | null;
  readonly page: string | null;
  /** How those who publish it convert it to OpenVINO IR, which is what `convert` does; null for most models. */
  readonly recipe: ConversionRecipe | null;
  readonly files: readonly {
    readonly path: string;
    readonly bytes: number | null;
    readonly sha256: string | null;
  }[];
  /** Paths of files that may run code when they are loaded, by their names. */
  readonly pickles: readonly string[];
  readonly leftOut: readonly LeftOutFile[];
  readonly conversions: readonly ListedModel[];
  readonly precision: string | null;
  readonly device: string | null;
  readonly converter: string | null;
  /** What `--set` said when it was converted. */
  readonly settings: Readonly<Record<string, string>>;
  readonly pulledAt: string | null;
  readonly check: CheckReport | null;
  /** Of OpenVINO IRs, as their .xml has them, and of ONNX models. */
  readonly inputs: readonly ModelPort[];
  readonly outputs: readonly ModelPort[];
  /** Of OpenVINO IRs. */
  readonly weights: readonly ModelWeights[];
  /** Whether its files may be had: `open` for everybody, `granted` to whoever asks, or `refused`; null where nobody tells. */
  readonly access: 'open' | 'granted' | 'refused' | null;
  readonly formats: readonly FormatShare[];
  /** What its files say of themselves. */
  readonly headers: readonly ModelHeader[];
  /** What `convert` would do with it for each device; empty for what is a conversion. */
  readonly outlook: readonly ConversionOutlook[];
  /** What could not be told, as sentences. */
  readonly unread: readonly string[];
  /** Bytes of the model's files that were fetched for what they say of themselves; 0 of files here. */
  readonly fetchedBytes: number;
}

/** A page about models and their conversions. */
export interface MadeReport {
  /** Absolute; null where no file was named. */
  readonly path: string | null;
  /** Of the page. */
  readonly bytes: number;
  /** In its order. */
  readonly models: readonly ReportedEntry[];
  /** The page itself; part of no document. */
  readonly html: string;
}

export interface ReportedEntry {
  readonly reference: string;
  readonly kind: ShownModel['kind'];
  readonly precision: string | null;
  readonly device: string | null;
  readonly bytes: number;
  /** That a conversion took. */
  readonly seconds: number | null;
  readonly check: CheckReport | null;
}

/** Files of one format among those of a model. */
export interface FormatShare {
  /** `safetensors`, `gguf`, `onnx`, `openvino`, `pytorch`, … */
  readonly format: string;
  /** Of GGUF files, that their names tell. */
  readonly quantization: string | null;
  readonly files: number;
  /** 0 for files whose sizes the hub does not tell. */
  readonly bytes: number;
}

/** What a set of weights says of itself; null for what it does not say. */
export interface ModelHeader {
  /** Its file, or the first of them. */
  readonly file: string;
  readonly files: number;
  readonly format: 'safetensors' | 'gguf' | 'onnx' | 'openvino';
  /** As the format or its `config.json` has it: `llama`, `BertModel`. */
  readonly architecture: string | null;
  /** Numbers in its tensors, unpacked. */
  readonly parameters: number | null;
  /** Bytes of its tensors by element type, in the format's words, most first. */
  readonly types: readonly { readonly type: string; readonly bytes: number }[];
  /** In the words of what made it: `Q4_K_M`, `awq 4 bit`, `int4_sym`. */
  readonly quantization: string | null;
  /** Tokens. */
  readonly contextLength: number | null;
  /** Kind and size: `gpt2, 151936 tokens`. */
  readonly tokenizer: string | null;
  readonly producer: string | null;
  /** Of ONNX: versions of operator sets by domain. */
  readonly opsets: Readonly<Record<string, number>>;
  /** Why what is missing is missing. */
  readonly unread: string | null;
}

/** What `convert` would do for a device. */
export interface ConversionOutlook {
  readonly device: string;
  readonly precision: string;
  /** Null where it is refused, or taken as it is published. */
  readonly converter: string | null;
  readonly toolchain: ConvertPlan['toolchain'];
  /** The conversion is stored already. */
  readonly stored: boolean;
  /** Bytes of the model to fetch first. */
  readonly downloadBytes: number;
  readonly estimate: ConvertPlan['estimate'] | null;
  readonly adjustments: readonly string[];
  readonly prebuilt: ConvertPlan['prebuilt'];
  /** What would be warned of, such as too little memory. */
  readonly warnings: readonly string[];
  readonly refused: { readonly message: string; readonly hint: string | null } | null;
}

/** An input or output of an IR or ONNX model. */
export interface ModelPort {
  /** Path of the .xml or .onnx. */
  readonly file: string;
  readonly name: string;
  /** As OpenVINO calls it: `f32`, `i64`. */
  readonly type: string;
  /** Sizes; `?` or `1..8` for one that is left open, `...` where their number is. */
  readonly shape: readonly (number | string)[];
}

/** Constants of one element type in an IR. */
export interface ModelWeights {
  readonly file: string;
  readonly type: string;
  readonly bytes: number;
}

export interface RemovalPlan {
  readonly models: readonly ListedModel[];
  readonly bytes: number;
}

export interface RemovalResult {
  readonly removed: readonly string[];
  /** Bytes given back to the file system; without `--prune` blobs stay until the next prune. */
  readonly freedBytes: number;
}

export interface PrunePlan {
  /** Models that age or the size limit evicts. */
  readonly models: readonly ListedModel[];
  readonly blobs: { readonly count: number; readonly bytes: number };
  readonly partials: { readonly count: number; readonly bytes: number };
  /** Unfinished downloads that stay, since nobody asked for them to go. */
  readonly keptPartials: { readonly count: number; readonly bytes: number };
  readonly toolchains: readonly { readonly name: string; readonly bytes: number }[];
  readonly bytes: number;
}

export interface PruneResult {
  readonly removed: readonly string[];
  readonly freedBytes: number;
}

export interface VerifiedModel {
  readonly reference: string;
  readonly path: string;
  readonly ok: boolean;
  /** Paths whose bytes are not what the record says. */
  readonly damaged: readonly string[];
  readonly missing: readonly string[];
  readonly repaired: boolean;
  /** A conversion that could not be repaired is gone, since no hub has it. */
  readonly removed: boolean;
}

export interface HubState {
  readonly name: string;
  readonly title: string;
  readonly endpoint: string | null;
  /** Which credential would be used, by its source; null when the hub takes none or none was found. */
  readonly credentials: string | null;
  readonly takesCredentials: boolean;
  /** Only with a check: did the endpoint answer. */
  readonly reachable: boolean | null;
  readonly problem: string | null;
  /** In the order in which they are asked. */
  readonly mirrors: readonly MirrorState[];
}

export interface MirrorState extends Pick<HubState, 'reachable' | 'problem'> {
  readonly address: string;
}

/** A hub or converter and where it comes from; a plugin that was not loaded has one entry without a kind. */
export interface PluginState {
  /** Of the hub or converter; of the plugin as the configuration has it where nothing more is known. */
  readonly name: string;
  readonly kind: 'hub' | 'converter' | null;
  /** Of the package; null for a module without one, and for what is built in. */
  readonly version: string | null;
  /** `built-in`, or the package or path that the configuration names. */
  readonly from: string;
  /** Absolute path of the module. */
  readonly path: string | null;
  /** Absolute path of the configuration file that names it. */
  readonly configuredIn: string | null;
  readonly trusted: boolean;
  /** `refused`: its name is taken; `failed`: it could not be loaded; `untrusted`: it was not looked at. */
  readonly state: 'loaded' | 'refused' | 'failed' | 'untrusted';
  readonly error: { readonly message: string; readonly hint: string | null } | null;
}

export interface TrustedProject {
  /** Absolute path of the project's file. */
  readonly path: string;
  /** Absolute paths of the plugins that it names: directories of packages, files of modules. */
  readonly plugins: readonly string[];
  /** Why others that it names could not be trusted. */
  readonly missing: readonly string[];
}

export interface ConverterState {
  readonly name: string;
  readonly accepts: string;
  readonly makes: string;
  /** The one that new models need. */
  readonly toolchain: string;
  /** All that it may run in. */
  readonly toolchains: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
  readonly ready: boolean;
  /** Why it cannot run now, or what will be installed first. */
  readonly reason: string | null;
}

/** An optional native package, such as `openvino-node`. */
export interface RuntimeState {
  readonly name: string;
  readonly version: string | null;
  /** It is installed, with what it needs, on a version of Node.js that it runs on. */
  readonly usable: boolean;
  readonly reason: string | null;
}

export interface ToolchainState {
  readonly name: string;
  readonly title: string;
  readonly state: 'installed' | 'missing' | 'broken' | 'external';
  readonly directory: string | null;
  readonly bytes: number | null;
  /** Of other environments of this name, such as an earlier version's: `remove` takes them too. */
  readonly unusedBytes: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly reason: string | null;
  /** What installing it would fetch and take on disk at most; 0 where it is there. */
  readonly downloadBytes: number;
  readonly installedBytes: number;
}

export interface RemovedToolchain {
  readonly name: string;
  /** Given back to the file system. */
  readonly bytes: number;
  /** Of files that other environments have as well, and keep. */
  readonly sharedBytes: number;
}

export interface ToolchainWheels {
  readonly name: string;
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
}

export interface LoggedIn extends Identity {
  readonly hub: string;
  /** Where the credential comes from. */
  readonly source: string;
}

/** Groups of what `doctor` looks at, in the order they are shown. */
export const DOCTOR_TOPICS = [
  'programs',
  'machine',
  'configuration',
  'cache',
  'toolchains',
  'network',
  'credentials',
  'models',
] as const;
export type DoctorTopic = (typeof DOCTOR_TOPICS)[number];

/** `skipped`: it was not looked at, or is nothing that anybody needs. */
export type DoctorStatus = 'ok' | 'warning' | 'failed' | 'skipped';

/** One thing that `doctor` looked at. */
export interface DoctorCheck {
  /** `cache.links`, `network.hf`. */
  readonly name: string;
  readonly topic: DoctorTopic;
  readonly status: DoctorStatus;
  /** What was found, or why it was not looked at. */
  readonly message: string;
  /** The command, or the change, that puts it right; null where nothing is to be done. */
  readonly fix: string | null;
  /** Milliseconds that it took. */
  readonly ms: number;
  /** What was measured, by check. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface DoctorReport {
  /** In the order of the topics. */
  readonly checks: readonly DoctorCheck[];
  readonly counts: Readonly<Record<DoctorStatus, number>>;
}
