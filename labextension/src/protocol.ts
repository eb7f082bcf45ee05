/**
 * The JSON that the kernel and this extension exchange: records (docs/record.md) and control requests
 * (docs/protocol.md). What comes from a notebook file may be anything, so it passes a type guard before it is used.
 */

export const TURN_MIME = 'application/vnd.claw.turn+json';
export const COMM_TARGET = 'claw';
export const METADATA_KEY = 'claw';
export const PROTOCOL_VERSION = 1;
export const RECORD_FORMAT = 2;

export type AnswerName = 'allow_once' | 'allow_always' | 'deny' | 'approve' | 'accept_edits' | 'answered';
export type AnsweredBy = 'extension' | 'widget' | 'stdin' | 'policy' | 'interrupt';

/** What the provider says a text rests on. */
export interface Citation {
  url?: string;
  title?: string;
  quote?: string;
}

export interface TextBlock {
  type: 'text';
  text: string;
  citations?: Citation[];
}

export interface ThinkingBlock {
  type: 'thinking';
  text?: string;
  redacted?: string;
}

export interface ImageBlock {
  type: 'image';
  media_type: string;
  data: string;
}

export interface ToolCall {
  type: 'tool_call';
  id: string;
  name: string;
  input?: Record<string, unknown>;
  malformed?: string;
}

export interface ToolDetails {
  title?: string;
  diff?: string;
  exit_code?: number | null;
  signal?: number | string | null;
  status?: string;
  duration_seconds?: number;
  spill_path?: string;
  /** What a checkpoint could not save. */
  not_undoable?: string;
  outputs?: MimeBundle[];
  /** For each question what was chosen. */
  answers?: string[][];
}

export type MimeBundle = Record<string, unknown>;

export interface ToolResult {
  type: 'tool_result';
  call_id: string;
  content?: (TextBlock | ImageBlock)[];
  is_error?: boolean;
  details?: ToolDetails;
}

export type AssistantBlock = TextBlock | ThinkingBlock | ToolCall;

/** From this step on less of the conversation is sent to the model. */
export interface Compaction {
  summary?: string;
  cleared?: string[];
  reason?: string;
  tokens_before?: number;
  tokens_after?: number;
}

export interface Step {
  content?: AssistantBlock[];
  results?: ToolResult[];
  compaction?: Compaction | null;
}

export interface Approval {
  call_id: string;
  decision?: 'allow' | 'ask' | 'deny';
  reason?: string;
  rule?: string;
  answer?: AnswerName | null;
  answered_by?: AnsweredBy | null;
  message?: string;
}

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  cache_read_tokens?: number;
  cache_write_tokens?: number;
  /** The provider may have counted more: an answer broke off, or came without a count. */
  is_least?: boolean;
}

/** What a call would do, for a person to judge; see `Prepared.preview` of the core. */
export interface Preview {
  kind: 'command' | 'diff' | 'code' | 'path' | 'todos' | 'message' | 'plan' | 'questions' | 'none';
  command?: string;
  code?: string;
  visible?: string;
  cwd?: string;
  path?: string;
  diff?: string;
  is_new?: boolean;
  text?: string;
  plan?: string;
  todos?: unknown;
  questions?: unknown;
}

export type CallState = 'writing' | 'waiting' | 'running' | 'done';

export interface LiveCall {
  call_id: string;
  tool?: string;
  title?: string;
  preview?: Preview;
  output?: string;
  state?: CallState;
  started_at?: string;
  result?: ToolResult;
}

export interface ApprovalRequest {
  request_id: string;
  call_id: string;
  tool?: string;
  title?: string;
  reason?: string;
  preview?: Preview;
  suggested_rules?: string[];
}

/** The step under way. Absent from a finished record. */
export interface Live {
  text?: string;
  thinking?: string;
  calls?: LiveCall[];
  pending?: ApprovalRequest[];
  compactions?: Compaction[];
  kernel_id?: string;
}

export interface TurnRecord {
  format: number;
  turn_id: string;
  session_id: string;
  cell_id?: string;
  prompt?: string;
  model?: string;
  started_at?: string;
  duration_seconds?: number;
  steps?: Step[];
  approvals?: Approval[];
  notices?: string[];
  stop_reason?: string | null;
  error?: { kind?: string; message?: string; remedy?: string } | null;
  usage?: Usage;
  cost_usd?: number | null;
  live?: Live;
  /** In an output that was drawn where no extension was at work: the turns its cell showed before. */
  replaced?: unknown[];
}

/** A turn as the kernel remembers it: the bundle it drew last. */
export interface DrawnTurn {
  turn_id: string;
  cell_id?: string;
  display_id?: string;
  is_running?: boolean;
  bundle: MimeBundle;
}

export interface SyncReply {
  kernel_id: string;
  turns: DrawnTurn[];
}

export interface ResolveReply {
  is_accepted: boolean;
  answered_by?: AnsweredBy | null;
}

export type JSONRecord = Record<string, unknown>;

/** The texts in a list that may hold anything. */
export function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : [];
}

export function isObject(value: unknown): value is JSONRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOfObjects(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every(isObject));
}

function isText(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'string';
}

function isStep(step: JSONRecord): boolean {
  return (
    isListOfObjects(step.content) &&
    isListOfObjects(step.results) &&
    ((step.results as JSONRecord[] | undefined) ?? []).every(result => isListOfObjects(result.content))
  );
}

function isLive(live: unknown): boolean {
  return (
    live === undefined ||
    (isObject(live) &&
      isText(live.text) &&
      isText(live.thinking) &&
      isListOfObjects(live.calls) &&
      isListOfObjects(live.pending))
  );
}

/** Whether `value` has the shape of a record this version can draw and store. Leaves are checked where they are drawn. */
export function isRecord(value: unknown): value is TurnRecord {
  return (
    isObject(value) &&
    typeof value.format === 'number' &&
    value.format >= 1 &&
    value.format <= RECORD_FORMAT &&
    typeof value.turn_id === 'string' &&
    value.turn_id !== '' &&
    typeof value.session_id === 'string' &&
    isListOfObjects(value.steps) &&
    ((value.steps as JSONRecord[] | undefined) ?? []).every(isStep) &&
    isListOfObjects(value.approvals) &&
    isLive(value.live)
  );
}

/** The record in a MIME bundle, or null where there is none that can be read. */
export function recordOf(bundle: unknown): TurnRecord | null {
  const value = isObject(bundle) ? bundle[TURN_MIME] : null;
  return isRecord(value) ? value : null;
}

/** Whether `value` is of our MIME type's family but of a format this version does not know. */
export function isNewerRecord(value: unknown): boolean {
  return isObject(value) && typeof value.format === 'number' && value.format > RECORD_FORMAT;
}

export function isFinished(record: TurnRecord): boolean {
  return record.live === undefined && Boolean(record.stop_reason);
}

export function isDrawnTurn(value: unknown): value is DrawnTurn {
  return isObject(value) && typeof value.turn_id === 'string' && isObject(value.bundle);
}

/** A line for each source of a text: title and address, as they came. */
export function sourcesOf(citations: unknown): string[] {
  const named: unknown[] = Array.isArray(citations) ? citations : [];
  return named
    .filter((source): source is Record<string, unknown> => typeof source === 'object' && source !== null)
    .map(source => [textOf(source['title']), textOf(source['url'])].filter(part => part).join(': '))
    .filter(line => line);
}

/** `value` as a string; anything that is no string counts as empty. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
