/**
 * The interface of a hub: a source of models. A hub turns a reference into a snapshot and returns data;
 * transfer, retries, verification, archives, the cache and progress live in modeldl.
 */
import type { ConversionRecipe } from './converter.js';
import type { Emit } from './events.js';
import type { Reference, ReferenceParts, ReferenceSyntax } from './reference.js';

export interface Hub {
  /** Word for this hub in references, configuration and output: `hf`. */
  readonly name: string;
  /** For people: `Hugging Face`. */
  readonly title: string;
  readonly syntax: ReferenceSyntax;
  /** Name of the hub whose server this one asks: settings and tokens are that hub's. */
  readonly servedBy?: string;
  /** Settings under `hubs.<name>`, by key: what is not named here is refused in a configuration. */
  readonly settings?: Readonly<Record<string, HubSetting>>;
  readonly credentials?: CredentialSpec;
  /** How users log in where that is not modeldl's: a hint for those who try, and whose files are refused. */
  readonly loginHint?: string;
  /** An id may be one file (web addresses, local paths): its path is printed instead of a directory's. */
  readonly namesFiles?: boolean;
  /** Revisions of this hub are sha256 digests that references carry as `#sha256=`. */
  readonly pinsByDigest?: boolean;
  /** Files of a revision may be replaced at this hub: `--refresh` asks again about one that is stored. */
  readonly replacesFiles?: boolean;
  /**
   * Address that `modeldl hubs --check` and mirrors refer to; undefined for hubs without one. Where an id names a server
   * of its own, that one's.
   */
  endpoint?(context: HubSettingsContext, id?: string): string | undefined;
  /** Address whose answer tells that its server is there, where another tool's configuration names it (npm, pip). */
  readonly server?: (context: HubSettingsContext) => Promise<string>;
  /**
   * Says no to an address: asked for the first one and every redirect while this hub's listing or files are fetched.
   * @throws ModeldlError USAGE
   */
  allow?(url: URL, context: HubSettingsContext): void;
  /**
   * Request headers for an address, where another tool's configuration holds credentials by address (npm, pip) and
   * `credentials` cannot say it. Asked for every hop, and only while this hub's listing or files are fetched.
   */
  authorize?(url: URL, context: HubSettingsContext): Promise<Readonly<Record<string, string>> | undefined>;
  /**
   * Answers the challenge of a registry, a 401 with `WWW-Authenticate`: the request is sent once more with what is
   * granted, and so are those below the same address. Undefined when there is nothing to answer with.
   * @throws ModeldlError AUTH, CONFIG, NETWORK
   */
  answerChallenge?(challenge: Challenge, context: HubSettingsContext): Promise<Grant | undefined>;
  /** Certificates and proxies that this hub's own tool is configured with; modeldl's own settings win over them. */
  network?(context: HubSettingsContext): Promise<HubNetwork>;
  /**
   * Resolves a reference to an immutable listing.
   * @throws ModeldlError NOT_FOUND, AUTH, GATED, NETWORK, UNSUPPORTED, INTEGRITY
   */
  resolve(reference: Reference, context: HubContext): Promise<Snapshot>;
  /**
   * Asks whether the files of a listing would be given, where a hub shows listings to people who may not have the files
   * (gated models). Called once before anything of a snapshot is fetched, not for looking at it.
   * @throws ModeldlError GATED, AUTH, NOT_FOUND, NETWORK
   */
  checkAccess?(snapshot: Snapshot, context: HubContext): Promise<void>;
  /**
   * Address of a file of a revision, where these tell it without asking: a lock need not hold it then, and is not
   * believed about it.
   */
  addressOf?(path: string, model: PinnedModel, context: HubSettingsContext): string | undefined;
  /**
   * Can what a reference names be this revision, as far as that tells without asking? A version is itself alone, and a
   * branch may be anything. A lock is held to it.
   */
  mayMean?(named: string, revision: string): Promise<boolean>;
  readonly prebuilt?: PublishedConversions;
  /** This hub can hold models of others, below what `hubs.<name>.mirrors` names as `<scheme>:<prefix>`. */
  readonly holding?: Holding;
  /**
   * Writes a stored model to this hub under a name of it. What is there already is not sent.
   * @throws ModeldlError USAGE for a reference that names nothing to write to, AUTH, NETWORK, INTEGRITY, UNSUPPORTED
   */
  push?(model: ModelToPush, target: Reference, context: PushContext): Promise<Pushed>;
  /** Asked before a model is fetched to be pushed. @throws ModeldlError USAGE as `push` does */
  checkTarget?(target: Reference): void;
  readonly program?: LocalProgram;
  readonly key?: UserKey;
  /** Of a hub whose models are repositories of Hugging Face: the full name there, by which its own programs know one. */
  repository?(id: string): string;
  /**
   * Models by words and filters, likeliest first. It is read no further than needed, so pages are asked for one by one.
   * Only what `searches` names is ever asked of it.
   * @throws ModeldlError USAGE for a text or value that it cannot look for, AUTH, NETWORK
   */
  search?(query: SearchQuery, context: HubContext): AsyncIterable<SearchHit>;
  /** What `search` can do beside words; without it nothing. */
  readonly searches?: SearchAbilities;
}

export type SearchFilter = 'task' | 'precision' | 'library' | 'license';
export type SearchOrder = 'downloads' | 'likes' | 'updated';

export interface SearchAbilities {
  readonly filters: readonly SearchFilter[];
  readonly orders: readonly SearchOrder[];
  /** It looks at lists that are shipped, and makes no request. */
  readonly local?: boolean;
  /** What else people have to know of its answers. */
  readonly note?: string;
}

/** Values are lower-case, but for `library`. */
export interface SearchQuery {
  /** Words with blanks between them; empty when anything is meant that the filters take. */
  readonly text: string;
  /** In the words of Hugging Face, or in this hub's own. */
  readonly task?: string;
  /** `int8`. */
  readonly precision?: string;
  /** Library or framework that it was made with or for. */
  readonly library?: string;
  /** SPDX identifier, or what the hub has instead. */
  readonly license?: string;
  /** Most first; without it the hub's own order. */
  readonly order?: SearchOrder;
  /** So many are read at most. */
  readonly limit: number;
}

export interface SearchHit {
  /** What `pull` takes. */
  readonly reference: ReferenceParts;
  /** The hub's word for what the model does. */
  readonly task?: string;
  readonly library?: string;
  readonly license?: string;
  /** Of its weights: `bf16`, `int8`. */
  readonly precisions?: readonly string[];
  /** The hub's word for its size within its family: `n`, `x`. */
  readonly scale?: string;
  /** Number of its weights. */
  readonly parameters?: number;
  /** Of its weights. */
  readonly bytes?: number;
  readonly downloads?: number;
  readonly likes?: number;
  /** ISO 8601. */
  readonly updatedAt?: string;
  /** Its files are for those who asked for access. */
  readonly gated?: boolean;
  readonly private?: boolean;
  /** Page for people. */
  readonly page?: string;
}

/** This hub's own program on this machine, which keeps models in a store of its own. */
export interface LocalProgram {
  /**
   * Has the program, which runs, pull a model into its store, and lists what lies there. Stops it when aborted.
   * @throws ModeldlError NETWORK without it, USAGE, NOT_FOUND and DISK for a store that is not here or cannot be read,
   * and as {@link Hub.resolve}
   */
  pull(reference: Reference, context: LocalPullContext): Promise<LocalPull>;
  /** What can be told before a model is there, which may have to be fetched. @throws ModeldlError as {@link LocalProgram.register} */
  checkRegistration(name: string | undefined, context: HubSettingsContext, directory?: string): Promise<void>;
  /**
   * What makes a stored model one of the program's, without a second copy. Nothing is written.
   * @param name the program's name for it; by default one that is made of the model's own
   * @param directory a store in place of the program's own, absolute; it may not be there yet
   * @throws ModeldlError USAGE, UNSUPPORTED for a model that the program does not take, NOT_FOUND without its store
   */
  register(
    model: ModelToRegister,
    name: string | undefined,
    context: HubSettingsContext,
    directory?: string,
  ): Promise<Registration>;
}

export interface LocalPullContext extends HubContext {
  /** Tells how far the program is. */
  readonly emit: Emit;
}

export interface LocalPull {
  readonly snapshot: Snapshot;
  /** For messages: `the Ollama store`. */
  readonly title: string;
  /** Of the program's store, absolute. */
  readonly directory: string;
  /** Where the store has bytes of the listing, absolute, by their sha256. */
  readonly blobs: ReadonlyMap<string, string>;
}

export interface ModelToRegister {
  readonly hub: string;
  readonly id: string;
  /** Pinned, for messages and hints. */
  readonly reference: string;
  readonly files: readonly FileToRegister[];
}

export interface FileToRegister {
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Absolute path. */
  readonly location: string;
  /** That its path names, upper case; of GGUF files. */
  readonly quantization?: string;
}

export interface Registration {
  /** What the program calls the model. */
  readonly name: string;
  /** Of its store, absolute. */
  readonly directory: string;
  /** Files that are named by what they hold, relative to the store. */
  readonly contents: readonly RegisteredContent[];
  /** The file that the program knows the model by, relative to the store; the last one that is written. */
  readonly entry: { readonly path: string; readonly bytes: Uint8Array };
  /** Is what the program knows under this name, as its entry has it, this model, perhaps with more beside it? */
  isSame(entry: Uint8Array): boolean;
  /** What to do where the store may not be written to. */
  readonly unwritableHint: string;
  /** What a user should know about the model there. */
  readonly notes: readonly string[];
}

export interface RegisteredContent {
  readonly path: string;
  readonly bytes: number;
  /** Absolute path of a stored file, or what to write. */
  readonly from: string | Uint8Array;
}

/** What a hub knows its users by in place of a token: a key that its own program made. */
export interface UserKey {
  /** Page where its public part is added to an account. */
  readonly page: string;
  /** What makes the key. */
  readonly made: string;
  /** Path of the private part, which never leaves the machine. */
  file(context: HubSettingsContext): string;
  /** The public part as one line; undefined where there is no key. @throws ModeldlError CONFIG */
  publicLine(context: HubSettingsContext): Promise<string | undefined>;
}

export interface PinnedModel {
  readonly id: string;
  readonly revision: string;
}

/** A stored model, as a hub writes it elsewhere. */
export interface ModelToPush {
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  /** Pinned; undefined where it would tell of this machine, as local paths do. */
  readonly origin?: string;
  readonly metadata: SnapshotMetadata;
  readonly conversion?: { readonly precision: string; readonly device: string; readonly converter: string };
  readonly files: readonly FileToPush[];
  /** What the target has already of the same model, which is named beside its files. */
  readonly held?: readonly FileToPush[];
  /** Text that whoever takes the model from there gets back: the listing of its hub. */
  readonly listing?: string;
}

export interface FileToPush {
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** What the origin promised. */
  readonly upstream?: Digest;
}

/** How a hub holds models of others, so that it is a source of them. */
export interface Holding {
  /** The prefix as it is written otherwise; undefined for what is none. */
  readPrefix(text: string): string | undefined;
  /** Address that tells whether the server of a prefix answers. */
  address(prefix: string, context: HubSettingsContext): string;
  /** Where a revision lies below a prefix: the same always and everywhere. */
  place(
    prefix: string,
    model: { readonly hub: string; readonly id: string; readonly revision: string },
  ): Reference;
  /** What is there; undefined for nothing. @throws ModeldlError AUTH, NETWORK, INTEGRITY, UNSUPPORTED */
  find(place: Reference, context: HubContext): Promise<HeldModel | undefined>;
}

export interface HeldModel {
  /** Pinned reference of the model that it is said to be. */
  readonly origin?: string;
  readonly files: readonly HeldFile[];
  /** As {@link ModelToPush.listing}. */
  readonly listing?: string;
  readonly metadata: SnapshotMetadata;
}

export interface HeldFile extends FileToPush {
  readonly url: string;
}

export interface PushContext extends HubContext {
  /** Ids of this hub that may hold files of the model already. */
  readonly beside: readonly string[];
  /** One attempt at a request whose body is a file of the model. @throws ModeldlError NETWORK, DISK */
  send(file: FileToPush, url: string, request: SendRequest): Promise<Response>;
}

export interface SendRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface Pushed {
  readonly revision: string;
  /** Bytes of files that were sent, that were there, and that the hub took from another model. */
  readonly sentBytes: number;
  readonly presentBytes: number;
  readonly mountedBytes: number;
}

/** Conversions to OpenVINO IR that are published at a hub beside the models they were made of. */
export interface PublishedConversions {
  /** Ids to look for, likeliest first; the model's own when it is one. */
  ids(id: string, wanted: { readonly precision: string; readonly device: string }): readonly string[];
  /** Asks whether there is a model of this id: one request. @throws ModeldlError NETWORK */
  exists(id: string, context: HubContext): Promise<boolean>;
  /** Where a model itself holds conversions of it. */
  readonly parts?: PublishedParts;
}

export interface PublishedParts {
  /** Without asking: whether a model of this id may. */
  mayHold(id: string): Promise<boolean>;
  /** Subpaths of a listing by the precision of what lies there; empty for a model that is none. */
  of(snapshot: Snapshot): Readonly<Record<string, string>>;
}

export interface Challenge {
  /** Of the request that was refused. */
  readonly url: URL;
  /** Text of `WWW-Authenticate`. */
  readonly header: string;
  /** For asking whoever gives tokens; challenges to that are not answered. */
  readonly fetch: typeof globalThis.fetch;
  /** The run's: what is got for one request serves others as well, which that one's end must not stop. */
  readonly signal: AbortSignal;
}

/** Headers for every address below a prefix of the origin that asked for them. */
export interface Grant {
  readonly covers: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface HubNetwork {
  /** PEM texts, used beside the built-in certificates. */
  readonly ca?: readonly string[];
  readonly proxy?: { readonly http?: string; readonly https?: string; readonly no?: string };
}

export interface HubSetting {
  readonly description: string;
  readonly type: 'string' | 'boolean' | 'number' | 'string[]';
  /** True for what decides where bytes come from: a project file may set it only after it was trusted. */
  readonly trust?: boolean;
  /** Environment variables that set it, best first; they win over configuration files. Of text settings only. */
  readonly environment?: readonly string[];
}

/** What a hub may know before any request. */
export interface HubSettingsContext {
  /** `hubs.<name>` of the configuration, validated against `settings`. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly home: string;
}

export interface HubContext extends HubSettingsContext {
  /**
   * The one HTTP client as a `fetch`: proxies, CAs, retries, rate limits and redirects are its business, and it adds
   * the hub's credential for the origin that this belongs to. `redirect: 'manual'` is honoured. Throws NETWORK.
   */
  readonly fetch: typeof globalThis.fetch;
  readonly signal: AbortSignal;
  /** The credential in use for an address, if any: for error messages and SDKs that insist on a token. */
  credential(url: string): Promise<Credential | undefined>;
  /**
   * The listing of an immutable revision that an earlier pull stored: a hub that is told the revision first need not be
   * asked for its files again.
   */
  known?(id: string, revision: string): Promise<Snapshot | undefined>;
  warn(message: string): void;
}

/** An immutable, pinned listing of a model's files. */
export interface Snapshot {
  readonly hub: string;
  readonly id: string;
  /**
   * Commit, version or digest. Undefined when only the bytes themselves can tell: the store then uses the sha256 over
   * the listing, which for a single file is that file's own sha256.
   */
  readonly revision?: string;
  /** What to compare next time instead of fetching: an ETag, a modification time. Only used without `revision`. */
  readonly validator?: string;
  readonly files: readonly RemoteFile[];
  /** What the hub's own tool changes in files, in this order: done once digests matched and archives are unpacked. */
  readonly edits?: readonly Edit[];
  readonly metadata: SnapshotMetadata;
  /** Nobody but a lock says that these are the revision's files: they are kept apart from what the hub says. */
  readonly unproven?: true;
  /** Its hub could not be reached: a registry that is a mirror says so, with addresses of its own where it has no others. */
  readonly believed?: true;
  /** Where the revision ends in a reference that left it open (`Reference.openRevision`), when not where it says. */
  readonly reading?: Reading;
}

export interface Reading {
  readonly revision: string;
  readonly subpath?: string;
}

export interface SnapshotMetadata {
  /** SPDX identifier in lower case where the hub gives one. */
  readonly license?: string;
  readonly gated?: boolean;
  /** The hub's word for what the model does: `feature-extraction`. */
  readonly task?: string;
  /** The hub's word for the library it was made with: `sentence-transformers`. */
  readonly library?: string;
  /** Page for people. */
  readonly page?: string;
  /** How the model is converted to OpenVINO IR by those who publish it. */
  readonly recipe?: ConversionRecipe;
}

export type { ConversionRecipe };

export interface RemoteFile {
  /** Relative, `/`-separated; validated before any use. */
  readonly path: string;
  /** Bytes. */
  readonly size?: number;
  /** What upstream promises. */
  readonly digest?: Digest;
  /**
   * Stable address, asked again for every attempt, so what it redirects to may expire. `file:` for local files, `data:`
   * for small ones that the hub wrote or read itself; these need `size`.
   */
  readonly url: string;
  /**
   * Query that every request adds to `url`, without `?`. It may hold a signature, so it is part of no stored listing,
   * record, event or message.
   */
  readonly query?: string;
  /**
   * Its bytes come from its address, whatever is here with such a digest: only a lock says that this file has it. That
   * they were fetched from there once is remembered.
   */
  readonly fresh?: true;
  /** More bytes than this are refused while they arrive. */
  readonly maxBytes?: number;
  /** The bytes are an archive whose members are the model's files. */
  readonly unpack?: Unpack;
}

export type DigestAlgorithm = 'sha256' | 'sha512' | 'sha384' | 'sha1' | 'git-sha1';

export interface Digest {
  readonly algorithm: DigestAlgorithm;
  /** Lower-case hex. `git-sha1` is the id of a git blob: sha1 over `blob <size>\0` and the bytes. */
  readonly hex: string;
}

export interface Unpack {
  readonly format: 'tar' | 'tar.gz' | 'tar.xz' | 'tar.zst' | 'zip';
  /** Leading path segments to drop from every member (`package/` of npm is 1); default 0. */
  readonly strip?: number;
  /** Folder of the tree that members lie in; default its root. */
  readonly into?: string;
}

/** Text that is replaced in a file of the listing, or in a member of one of its archives. */
export interface Edit {
  readonly path: string;
  /** Source of an ECMAScript regular expression, matched with the flags `gu`; it has to match. */
  readonly pattern: string;
  /** Texts, and numbers of groups; 0 is all that matched. */
  readonly replacement: readonly (string | number)[];
  /** Only so many of the first matches, which there have to be; default all. */
  readonly count?: number;
}

/** A token or password, with where it came from; never printed. */
export interface Credential {
  readonly token: string;
  /** For messages: `HF_TOKEN`, `modeldl login`, a file path. */
  readonly source: string;
}

export interface CredentialSpec {
  /** Environment variables, best first. */
  readonly environment: readonly string[];
  /** Files that other tools of this hub keep their token in, best first. */
  files?(context: HubSettingsContext): readonly string[];
  /** Address of the endpoint that credentials belong to. */
  endpoint(context: HubSettingsContext): string;
  /** Request headers that carry it; default `Authorization: Bearer <token>`. */
  headers?(credential: Credential): Readonly<Record<string, string>>;
  /** Page where a user makes a token. */
  readonly page?: string;
  /** Who the credential belongs to. @throws ModeldlError AUTH when the hub refuses it, NETWORK */
  whoami(context: HubContext): Promise<Identity>;
}

export interface Identity {
  readonly name: string;
  /** What the token may do, as the hub calls it: `read`, `write`, `fineGrained`. */
  readonly scope?: string;
  readonly organisations?: readonly string[];
}
