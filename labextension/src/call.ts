import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';

import { ApprovalCard } from './approval';
import type { Card } from './card';
import type { KernelClient } from './client';
import type { Liveness } from './clients';
import { el, formatSeconds, icon, type IconName, plainText, setHidden, setText } from './dom';
import type { FreeLayout } from './layout';
import { MarkdownText } from './markdown';
import { isPacked, unpacked } from './packing';
import { PlanCard, planAnswer } from './plan';
import { diffBlock, previewBlock } from './preview';
import {
  type Approval,
  type ApprovalRequest,
  type LiveCall,
  type MimeBundle,
  type Preview,
  textOf,
  type ToolCall,
  type ToolResult
} from './protocol';
import { answersOf, QuestionCard, questionsBlock, questionsOf } from './questions';

/** All that is known of one call: from the step under way or from a finished step. */
export interface CallFacts {
  id: string;
  call: ToolCall | null;
  live: LiveCall | null;
  request: ApprovalRequest | null;
  result: ToolResult | null;
  approval: Approval | null;
}

/** Answers that are the whole of a call's result. */
const SAID: ReadonlySet<string> = new Set(['deny', 'answered', 'approve', 'accept_edits']);

interface Surroundings {
  layout: FreeLayout;
  rendermime: IRenderMimeRegistry;
  /** For what a model wrote: nothing in it loads an address. */
  quietRendermime: IRenderMimeRegistry;
  findClient: () => KernelClient | null;
}

/** One tool call: a compact row, and below it, when opened or asked about, what it would do and what it gave. */
export class CallView {
  readonly node = el('div', 'claw-Call');

  constructor(private readonly around: Surroundings) {
    this.summary.append(this.iconSlot, this.title, this.glimpse, this.meta);
    this.details.append(this.summary, this.body);
    this.node.append(this.details, this.outputs);
    this.details.addEventListener('toggle', () => this.drawBody());
    this.title.setAttribute('dir', 'ltr');
  }

  update(facts: CallFacts, liveness: Liveness, trusted: boolean): void {
    this.facts = facts;
    const state = stateOf(facts, liveness);
    if (state !== this.state) {
      this.state = state;
      this.node.dataset.state = state;
      this.iconSlot.replaceChildren(icon(state));
    }
    setText(this.title, titleOf(facts));
    setText(this.glimpse, this.details.open ? '' : glimpseOf(facts, state));
    this.tick();
    this.updateCard(facts, liveness);
    this.drawBody();
    this.drawOutputs(facts.result?.details?.outputs ?? [], trusted);
  }

  /** Show the time that passed, once a second while the call runs. */
  tick(): void {
    if (this.facts) {
      setText(this.meta, metaOf(this.facts, this.state));
    }
  }

  private updateCard(facts: CallFacts, liveness: Liveness): void {
    if (facts.request) {
      if (!this.card) {
        this.card = openCard(facts.request, this.around.findClient);
        this.body.prepend(this.card.heading);
        this.previewSlot.after(this.card.actions);
        // Stays open when the tool runs, so that the page does not jump away under the reader.
        this.details.open = true;
      }
      this.card.ask(facts.request, liveness);
    } else {
      this.card?.settle(facts.approval, answersOf(facts.result?.details?.answers));
      if (!facts.live) {
        this.card?.release(); // its step has ended
      }
    }
  }

  private drawBody(): void {
    const facts = this.facts;
    if (!facts || !this.details.open) {
      return;
    }
    setText(this.glimpse, '');
    const known = facts.request?.preview ?? facts.live?.preview;
    if (known && known.kind !== 'none') {
      this.preview = known; // kept for the finished call: what was read stays where it was
    }
    const preview = this.preview ?? previewOf(facts);
    const diff = textOf(facts.result?.details?.diff);
    const answers = answersOf(facts.result?.details?.answers);
    const source = preview.kind === 'questions' && this.card ? '' : JSON.stringify([preview, answers]);
    this.fill(this.previewSlot, source, () => this.drawPreview(preview, answers));
    this.fill(this.diffSlot, preview.kind === 'diff' ? '' : diff, () => (diff ? diffBlock(diff) : null));
    this.fill(this.approvalSlot, this.card ? '' : approvalText(facts), text => el('div', 'claw-Where', text));
    const packed = isPacked(facts.result);
    if (packed) {
      void this.unpack(facts.result);
    }
    const text = outputOf(packed && this.whole ? { ...facts, result: this.whole } : facts);
    setHidden(this.output, text === '');
    const isNew = this.output.textContent === '';
    const isAtEnd = this.output.scrollTop + this.output.clientHeight >= this.output.scrollHeight - 4;
    setText(this.output, text);
    // The end is what matters while it runs, and where it failed.
    if ((isAtEnd && this.state === 'running') || (isNew && this.state === 'failed')) {
      this.output.scrollTop = this.output.scrollHeight;
    }
    const spill = textOf(facts.result?.details?.spill_path);
    this.fill(this.noteSlot, spill, () => el('div', 'claw-Where', 'All of the output is in ', el('code', '', spill)));
    const lasting = textOf(facts.result?.details?.not_undoable);
    this.fill(this.undoSlot, lasting, () => el('div', 'claw-Where', `Undo will not bring back: ${lasting}`));
  }

  /** Once: a packed result is a finished one. */
  private async unpack(result: ToolResult | null): Promise<void> {
    if (result && !this.isUnpacking) {
      this.isUnpacking = true;
      this.whole = await unpacked(result);
      this.drawBody();
    }
  }

  private drawPreview(preview: Preview, answers: string[][]): HTMLElement | null {
    if (preview.kind === 'questions') {
      return questionsBlock(questionsOf(preview.questions), answers);
    }
    if (preview.kind === 'plan') {
      const plan = new MarkdownText(this.around.layout, this.around.quietRendermime);
      plan.node.classList.add('claw-Plan');
      plan.update(textOf(preview.plan), true);
      return plan.node;
    }
    return previewBlock(preview);
  }

  /** Draw a slot anew only when what it is drawn from changed. */
  private fill(slot: HTMLElement, source: string, draw: (source: string) => HTMLElement | null): void {
    if (this.sources.get(slot) !== source) {
      this.sources.set(slot, source);
      const content = source === '' ? null : draw(source);
      slot.replaceChildren(...(content ? [content] : []));
    }
  }

  /** Figures and tables of the call: they are results, so they are seen without opening the row. */
  private drawOutputs(bundles: MimeBundle[], trusted: boolean): void {
    const shown = [...imagesOf(this.facts?.result ?? null), ...bundles.filter(isRich)];
    if (shown.length === this.outputCount) {
      return;
    }
    for (const bundle of shown.slice(this.outputCount)) {
      const model = new MimeModel({ data: bundle as never, trusted });
      const mimeType = this.around.rendermime.preferredMimeType(model.data, trusted ? 'any' : 'ensure');
      if (mimeType && mimeType !== 'text/plain') {
        const renderer = this.around.rendermime.createRenderer(mimeType);
        const host = el('div', 'claw-Call-output');
        this.outputs.append(host);
        this.around.layout.addWidget(renderer, host);
        renderer.renderModel(model).catch((error: unknown) => {
          setText(host, `This output could not be drawn: ${String(error)}`);
        });
      }
    }
    this.outputCount = shown.length;
  }

  private facts: CallFacts | null = null;
  private state: IconName = 'writing';
  private card: Card | null = null;
  private preview: Preview | null = null;
  private outputCount = 0;
  private isUnpacking = false;
  private whole: ToolResult | null = null;
  private readonly sources = new Map<HTMLElement, string>();
  private readonly details = el('details', 'claw-Call-details');
  private readonly summary = el('summary', 'claw-Call-row');
  private readonly iconSlot = el('span', 'claw-Call-icon', icon('writing'));
  private readonly title = el('span', 'claw-Call-title');
  private readonly glimpse = el('span', 'claw-Call-glimpse');
  private readonly meta = el('span', 'claw-Call-meta');
  private readonly previewSlot = el('div', 'claw-Slot');
  private readonly diffSlot = el('div', 'claw-Slot');
  private readonly approvalSlot = el('div', 'claw-Slot');
  private readonly output = el('pre', 'claw-Output');
  private readonly noteSlot = el('div', 'claw-Slot');
  private readonly undoSlot = el('div', 'claw-Slot');
  private readonly body = el(
    'div',
    'claw-Call-body',
    this.previewSlot,
    this.approvalSlot,
    this.diffSlot,
    this.output,
    this.noteSlot,
    this.undoSlot
  );
  private readonly outputs = el('div', 'claw-Call-outputs');
}

function stateOf({ live, request, result, approval }: CallFacts, liveness: Liveness): IconName {
  if (result) {
    if (approval?.answer === 'deny' || approval?.decision === 'deny') {
      return 'denied';
    }
    return result.details?.status === 'cancelled' ? 'unfinished' : result.is_error ? 'failed' : 'done';
  }
  if (!live || liveness === 'expired') {
    return 'unfinished';
  }
  if (request) {
    return 'waiting';
  }
  // A call that waits for its turn, not for an answer, looks like one that is being written.
  return live.state === 'running' || live.state === 'done' ? live.state : 'writing';
}

function titleOf({ call, live, request, result }: CallFacts): string {
  const title = textOf(result?.details?.title) || textOf(live?.title) || textOf(request?.title);
  if (title) {
    return title;
  }
  if (call?.name === 'Bash' && typeof call.input?.command === 'string') {
    return `$ ${call.input.command.split('\n', 1)[0] ?? ''}`;
  }
  const subject = Object.values(call?.input ?? {}).find(value => typeof value === 'string');
  const name = textOf(call?.name) || textOf(live?.tool) || 'Tool';
  return subject === undefined ? name : `${name} ${textOf(subject).split('\n', 1)[0] ?? ''}`;
}

/** The last line of a running call's output or of a failure: what a closed row says of its inside. */
function glimpseOf({ live, result, approval }: CallFacts, state: IconName): string {
  if (state === 'running') {
    return lastLine(plainText(textOf(live?.output).slice(-2000)));
  }
  if (state === 'denied') {
    return textOf(approval?.message) || textOf(approval?.reason);
  }
  const answers = answersOf(result?.details?.answers);
  if (answers.length > 0) {
    return answers.map(chosen => chosen.join(', ')).join(' · ');
  }
  // The exit code stands at the end of the row.
  return state === 'failed' ? lastLine(resultText(result).replace(/\n?\[exit code \d+\]\s*$/, '')) : '';
}

function metaOf({ call, live, request, result }: CallFacts, state: IconName): string {
  const details = result?.details;
  const parts: string[] = [];
  if (typeof details?.exit_code === 'number' && details.exit_code !== 0) {
    parts.push(`exit ${details.exit_code}`);
  }
  if (details?.signal) {
    parts.push(`signal ${details.signal}`);
  }
  if (details?.status === 'timed_out') {
    parts.push('timed out');
  }
  if (state === 'denied') {
    parts.push(noTo({ call, live, request }).toLowerCase());
  } else if (typeof details?.duration_seconds === 'number') {
    if (details.duration_seconds >= 0.05) {
      parts.push(formatSeconds(details.duration_seconds));
    }
  } else if (state === 'running' && live?.started_at) {
    const seconds = (Date.now() - Date.parse(live.started_at)) / 1000;
    if (seconds >= 1) {
      parts.push(formatSeconds(Math.floor(seconds)).replace('.0', ''));
    }
  } else if (state === 'unfinished') {
    parts.push('not finished');
  }
  return parts.join(' · ');
}

/** What a stored call did, from its input. */
function previewOf({ call, result }: CallFacts): Preview {
  const input = call?.input ?? {};
  if (call?.malformed) {
    return { kind: 'code', code: call.malformed };
  }
  if (call?.name === 'ExitPlanMode' && typeof input.plan === 'string') {
    return { kind: 'plan', plan: input.plan };
  }
  if (call?.name === 'AskUserQuestion' && questionsOf(input.questions).length > 0) {
    return { kind: 'questions', questions: input.questions };
  }
  if (typeof input.command === 'string') {
    return { kind: 'command', command: input.command };
  }
  if (typeof input.code === 'string') {
    return { kind: 'code', code: input.code };
  }
  if (result?.details?.diff) {
    return { kind: 'diff', diff: result.details.diff, path: textOf(input.path) || textOf(input.file_path) };
  }
  return Object.keys(input).length > 0 ? { kind: 'code', code: JSON.stringify(input, null, 2) } : { kind: 'none' };
}

function openCard(request: ApprovalRequest, findClient: Surroundings['findClient']): Card {
  switch (request.preview?.kind) {
    case 'questions':
      return new QuestionCard(findClient);
    case 'plan':
      return new PlanCard(findClient);
    default:
      return new ApprovalCard(findClient);
  }
}

function toolOf({ call, live, request }: Pick<CallFacts, 'call' | 'live' | 'request'>): string {
  return textOf(call?.name) || textOf(live?.tool) || textOf(request?.tool);
}

/** What a no means to a call. */
function noTo(facts: Pick<CallFacts, 'call' | 'live' | 'request'>): string {
  const words: Record<string, string> = { AskUserQuestion: 'Not answered', ExitPlanMode: 'Keep planning' };
  return words[toolOf(facts)] ?? 'Denied';
}

function approvalText(facts: CallFacts): string {
  const { approval } = facts;
  if (!approval?.answer && approval?.decision !== 'deny') {
    return '';
  }
  const answer =
    approval.answer === 'allow_once'
      ? 'Allowed once'
      : approval.answer === 'allow_always'
        ? 'Allowed always'
        : approval.answer === 'answered'
          ? 'Answered'
          : approval.answer === 'approve' || approval.answer === 'accept_edits'
            ? planAnswer(approval.answer)
            : noTo(facts);
  const by = approval.answered_by === 'policy' || !approval.answer ? ' by the policy' : '';
  const why = textOf(approval.message) || (by && textOf(approval.reason));
  return answer + by + (why ? `: ${why}` : '');
}

function resultText(result: ToolResult | null): string {
  return (result?.content ?? [])
    .map(block => (block.type === 'text' ? textOf(block.text) : ''))
    .filter(text => text !== '')
    .join('\n');
}

function outputOf({ live, result, approval }: CallFacts): string {
  if (result && (SAID.has(approval?.answer ?? '') || approval?.decision === 'deny')) {
    return ''; // the card or the line of the approval says it
  }
  let text = plainText(result ? resultText(result) : textOf(live?.output)).trimEnd();
  if (imagesOf(result).length > 0 || result?.details?.outputs?.some(isRich)) {
    text = text.replace(/^\[figure: .*\]\n?/gm, '').trimEnd(); // the figure itself is below
  }
  return text;
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').pop() ?? '';
}

function isRich(bundle: MimeBundle): boolean {
  return Object.keys(bundle).some(type => type !== 'text/plain');
}

function imagesOf(result: ToolResult | null): MimeBundle[] {
  return (result?.content ?? []).flatMap(block =>
    block.type === 'image' && /^image\/(?:png|jpeg|gif|webp)$/.test(block.media_type)
      ? [{ [block.media_type]: block.data }]
      : []
  );
}
