import { type IRenderMime, type IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';

import { type CallFacts, CallView } from './call';
import type { KernelClients, Liveness } from './client';
import { compactionLine } from './compaction';
import { el, formatSeconds, icon, setHidden, setText } from './dom';
import { formatCost, formatElapsed, formatUsage } from './footer';
import { FreeLayout } from './layout';
import { MarkdownText } from './markdown';
import {
  type Compaction,
  isNewerRecord,
  isRecord,
  sourcesOf,
  type Step,
  type TextBlock,
  textOf,
  type ThinkingBlock,
  type ToolCall,
  TURN_MIME,
  type TurnRecord
} from './protocol';
import { QuietSanitizer } from './sanitizer';
import { latestTodos, TodoList } from './todos';

const TICK_MILLISECONDS = 1000;

const STOP_NOTES: Record<string, string> = {
  max_tokens: 'stopped at the model’s output limit',
  max_turns: 'stopped at the turn limit',
  max_cost: 'stopped at the cost limit',
  max_seconds: 'stopped at the time limit',
  max_turn_tokens: 'stopped at the token limit',
  max_session_cost: 'stopped at the conversation’s cost limit',
  max_session_seconds: 'stopped at the conversation’s time limit',
  max_session_tokens: 'stopped at the conversation’s token limit',
  max_notebook_cost: 'stopped at the notebook’s cost limit',
  max_notebook_tokens: 'stopped at the notebook’s token limit',
  loop: 'stopped: the model went round in circles',
  refusal: 'the model refused',
  interrupted: 'interrupted',
  incomplete: 'not finished'
};

interface ThinkingView {
  node: HTMLDetailsElement;
  text: HTMLElement;
}

/**
 * Draws one turn and changes what is drawn in place: each block of each step and each call keeps its element from its
 * first character to the finished record, and so keeps the reader's selection, scroll place and opened details.
 */
export class TurnRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(
    private readonly clients: KernelClients,
    rendermime: IRenderMimeRegistry,
    options: IRenderMime.IRendererOptions
  ) {
    super();
    this.addClass('claw-Turn');
    this.layout = this.free;
    const here = {
      ...(options.resolver ? { resolver: options.resolver } : {}),
      ...(options.linkHandler ? { linkHandler: options.linkHandler } : {})
    };
    this.rendermime = rendermime.clone(here);
    this.quietRendermime = rendermime.clone({ ...here, sanitizer: new QuietSanitizer(rendermime.sanitizer) });
    this.announcement.setAttribute('aria-live', 'polite');
    this.node.append(this.notices, this.steps, this.todos.node, this.error, this.footer, this.announcement);
    clients.changed.connect(this.schedule, this);
  }

  /** Draws the first time at once, later at most once per frame. */
  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.value = model.data[TURN_MIME];
    this.trusted = model.trusted;
    if (this.isDrawn) {
      this.schedule();
    } else {
      this.isDrawn = true;
      this.draw();
    }
    return Promise.resolve();
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    window.cancelAnimationFrame(this.frame);
    window.clearInterval(this.ticker);
    this.clients.changed.disconnect(this.schedule, this);
    super.dispose();
  }

  protected override onAfterAttach(): void {
    this.schedule(); // only now it is known in which notebook we are
  }

  private schedule(): void {
    if (this.frame === 0 && !this.isDisposed) {
      this.frame = window.requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    }
  }

  private draw(): void {
    if (!isRecord(this.value)) {
      setHidden(this.footer, true);
      this.drawError({
        message: isNewerRecord(this.value)
          ? 'This turn was recorded by a newer version of Claw.'
          : 'This turn cannot be drawn: its record is damaged.',
        remedy: isNewerRecord(this.value) ? 'Upgrade claw-jupyter to see it.' : ''
      });
      return;
    }
    const record = this.value;
    if (this.turnId !== record.turn_id) {
      this.forget();
      this.turnId = record.turn_id;
    }
    const live = record.live;
    const liveness = live ? this.clients.liveness(textOf(live.kernel_id), this.node) : 'expired';
    this.liveKernelId = textOf(live?.kernel_id);
    const isRunning = live !== undefined && liveness !== 'expired';
    this.node.dataset.state = live === undefined ? 'finished' : isRunning ? 'running' : 'expired';
    this.node.setAttribute('aria-busy', String(isRunning));
    this.drawNotices(record.notices ?? []);
    this.seen.clear();
    const steps = record.steps ?? [];
    steps.forEach((step, index) => this.drawStep(step, index, record, liveness));
    if (live) {
      this.drawLive(record, steps.length, liveness);
    }
    this.removeUnseen();
    this.todos.update(latestTodos(record));
    this.drawError(record.error ?? null);
    this.drawFooter(record, isRunning);
    const asked = (isRunning ? live.pending : undefined) ?? [];
    setText(this.announcement, asked.map(request => `Claw asks: ${textOf(request.title)}`).join('. '));
    this.setTicking(isRunning);
  }

  private drawNotices(notices: string[]): void {
    const texts = notices.map(textOf).filter(text => text !== '');
    setHidden(this.notices, texts.length === 0);
    if (this.noticeKey !== texts.join('\n')) {
      this.noticeKey = texts.join('\n');
      this.notices.replaceChildren(...texts.map(text => el('span', 'claw-Notice', text)));
    }
  }

  private drawStep(step: Step, index: number, record: TurnRecord, liveness: Liveness): void {
    const counts = { text: 0, thinking: 0 };
    if (step.compaction) {
      this.drawCompaction(index, 0, step.compaction);
    }
    for (const block of step.content ?? []) {
      switch (block.type) {
        case 'text':
          this.drawText(index, counts.text++, textWithSources(block), true);
          break;
        case 'thinking':
          this.drawThinking(index, counts.thinking++, thinkingText(block), true);
          break;
        case 'tool_call':
          this.drawCall(
            {
              id: block.id,
              call: block,
              live: null,
              request: null,
              result: (step.results ?? []).find(result => result.call_id === block.id) ?? null,
              approval: approvalOf(record, block.id)
            },
            liveness
          );
          break;
        default:
          break; // a block of a later version
      }
    }
  }

  private drawLive(record: TurnRecord, index: number, liveness: Liveness): void {
    const live = record.live ?? {};
    const thinking = textOf(live.thinking);
    const text = textOf(live.text);
    const calls = live.calls ?? [];
    (live.compactions ?? []).forEach((compaction, count) => this.drawCompaction(index, count, compaction));
    if (thinking) {
      this.drawThinking(index, 0, thinking, text !== '' || calls.length > 0 || liveness === 'expired');
    }
    if (text) {
      this.drawText(index, 0, text, calls.length > 0 || liveness === 'expired');
    }
    const pending = live.pending ?? [];
    for (const call of calls) {
      const id = textOf(call.call_id);
      const request = call.result ? null : (pending.find(candidate => candidate.call_id === id) ?? null);
      const result = call.result ?? null;
      this.drawCall({ id, call: null, live: call, request, result, approval: approvalOf(record, id) }, liveness);
    }
    for (const request of pending.filter(({ call_id: id }) => !calls.some(call => call.call_id === id))) {
      const live = { call_id: request.call_id, state: 'waiting' as const };
      this.drawCall({ id: request.call_id, call: null, live, request, result: null, approval: null }, liveness);
    }
  }

  /** Less of the conversation is sent from here on. */
  private drawCompaction(step: number, count: number, compaction: Compaction): void {
    const key = `${step}.compaction.${count}`;
    let node = this.compactions.get(key);
    if (!node) {
      node = el('div', 'claw-Notices', el('span', 'claw-Notice'));
      this.compactions.set(key, node);
    }
    this.place(key, node);
    const line = node.firstElementChild;
    if (line instanceof HTMLElement) {
      setText(line, compactionLine(compaction));
    }
  }

  private drawText(step: number, count: number, text: string, isFinal: boolean): void {
    this.drawMarkdown(`${step}.text.${count}`, text, isFinal);
  }

  private drawMarkdown(key: string, text: string, isFinal: boolean): HTMLElement {
    let view = this.texts.get(key);
    if (!view) {
      view = new MarkdownText(this.free, this.quietRendermime);
      this.texts.set(key, view);
    }
    this.place(key, view.node);
    view.update(text, isFinal);
    return view.node;
  }

  /** What Claw says while it goes on working: text of its own, not a call. */
  private drawMessage({ id, call, live }: CallFacts): void {
    const text = textOf(call?.input?.message) || textOf(live?.preview?.text);
    if (text) {
      this.drawMarkdown(`message.${id}`, text, true).classList.add('claw-Message');
    }
  }

  private drawThinking(step: number, count: number, text: string, isFinal: boolean): void {
    const key = `${step}.thinking.${count}`;
    let view = this.thoughts.get(key);
    if (!view) {
      const body = el('div', 'claw-Thinking-text');
      const summary = el('summary', '', el('span', 'claw-Thinking-label'));
      view = { node: el('details', 'claw-Thinking', summary, body), text: body };
      this.thoughts.set(key, view);
    }
    this.place(key, view.node);
    const label = view.node.querySelector<HTMLElement>('.claw-Thinking-label');
    if (label) {
      setText(label, isFinal ? 'Thought' : 'Thinking…');
    }
    setText(view.text, text);
  }

  private drawCall(facts: CallFacts, liveness: Liveness): void {
    if (!facts.request && !facts.result?.is_error) {
      const tool = facts.call?.name ?? facts.live?.tool;
      if (tool === 'TodoWrite') {
        return; // the turn's one list shows it
      }
      if (tool === 'SendUserMessage') {
        this.drawMessage(facts);
        return;
      }
    }
    const key = `call.${facts.id}`;
    let view = this.calls.get(key);
    if (!view) {
      view = new CallView({
        layout: this.free,
        rendermime: this.rendermime,
        quietRendermime: this.quietRendermime,
        findClient: () => this.clients.find(this.liveKernelId)
      });
      this.calls.set(key, view);
    }
    this.place(key, view.node);
    const known = this.callInputs.get(key);
    if (facts.call) {
      this.callInputs.set(key, facts.call);
    }
    view.update({ ...facts, call: facts.call ?? known ?? null }, liveness, this.trusted);
  }

  /** Put the element in its order; one that is in its place is not touched. */
  private place(key: string, node: HTMLElement): void {
    const at = this.seen.size;
    this.seen.add(key);
    const current = this.steps.children.item(at);
    if (current !== node) {
      this.steps.insertBefore(node, current);
    }
  }

  /** A stream that broke starts its step anew: what it drew before goes. */
  private removeUnseen(): void {
    for (const views of [this.texts, this.thoughts, this.calls]) {
      for (const [key, view] of views) {
        if (!this.seen.has(key)) {
          views.delete(key);
          view.node.remove();
        }
      }
    }
    for (const [key, node] of this.compactions) {
      if (!this.seen.has(key)) {
        this.compactions.delete(key);
        node.remove();
      }
    }
    for (const widget of this.free) {
      if (!this.node.contains(widget.node)) {
        widget.dispose();
      }
    }
  }

  private forget(): void {
    this.seen.clear();
    this.removeUnseen();
    this.callInputs.clear();
  }

  private drawError(error: { message?: string; remedy?: string } | null): void {
    setHidden(this.error, !error);
    const key = error ? `${textOf(error.message)}\n${textOf(error.remedy)}` : '';
    if (this.errorKey !== key) {
      this.errorKey = key;
      const text = el('span', 'claw-Error-text', textOf(error?.message) || 'The turn failed.');
      const remedy = textOf(error?.remedy);
      this.error.replaceChildren(
        icon('warning'),
        text,
        ...(remedy ? [' ', el('span', 'claw-Error-remedy', remedy)] : [])
      );
    }
  }

  private drawFooter(record: TurnRecord, isRunning: boolean): void {
    setHidden(this.footer, false);
    const note =
      record.live && !isRunning
        ? 'not finished: the kernel that ran this turn is gone'
        : STOP_NOTES[record.stop_reason ?? ''];
    const waits = isRunning && (record.live?.pending ?? []).length > 0;
    const parts = [
      ...(isRunning ? [waits ? 'waiting for your answer' : 'working'] : note ? [note] : []),
      ...(record.model ? [record.model] : []),
      ...(isRunning ? [formatUsage(record)] : [formatUsage(record), formatCost(record)]),
      ...(isRunning ? [formatElapsed(record)] : record.duration_seconds ? [formatSeconds(record.duration_seconds)] : [])
    ].filter(part => part !== '');
    setText(this.footer, parts.join(' · '));
  }

  private setTicking(isTicking: boolean): void {
    if (isTicking && !this.ticker) {
      this.ticker = window.setInterval(() => {
        if (isRecord(this.value)) {
          this.drawFooter(this.value, true);
        }
        this.calls.forEach(call => call.tick());
      }, TICK_MILLISECONDS);
    } else if (!isTicking && this.ticker) {
      window.clearInterval(this.ticker);
      this.ticker = 0;
    }
  }

  private value: unknown = null;
  private trusted = false;
  private isDrawn = false;
  private turnId = '';
  private liveKernelId = '';
  private frame = 0;
  private ticker = 0;
  private noticeKey = '';
  private errorKey = '';
  private readonly free = new FreeLayout();
  private readonly rendermime: IRenderMimeRegistry;
  private readonly quietRendermime: IRenderMimeRegistry;
  private readonly seen = new Set<string>();
  private readonly texts = new Map<string, MarkdownText>();
  private readonly thoughts = new Map<string, ThinkingView>();
  private readonly compactions = new Map<string, HTMLElement>();
  private readonly calls = new Map<string, CallView>();
  private readonly callInputs = new Map<string, ToolCall>();
  private readonly notices = el('div', 'claw-Notices');
  private readonly steps = el('div', 'claw-Steps');
  private readonly todos = new TodoList();
  private readonly error = el('div', 'claw-Error');
  private readonly footer = el('div', 'claw-Footer');
  private readonly announcement = el('div', 'claw-Announcement');
}

function approvalOf(
  record: TurnRecord,
  callId: string
): TurnRecord['approvals'] extends (infer A)[] | undefined ? A | null : never {
  return (record.approvals ?? []).find(approval => approval.call_id === callId) ?? null;
}

/** The sources stand as code: what names them is the model's server, and nothing of it is markup. */
function textWithSources(block: TextBlock): string {
  const lines = sourcesOf(block.citations).map(line => `* \`${line.replace(/[`\s]+/g, ' ')}\``);
  const text = textOf(block.text);
  return lines.length ? `${text}\n\nSources:\n\n${lines.join('\n')}` : text;
}

function thinkingText(block: ThinkingBlock): string {
  return textOf(block.text) || (block.redacted ? 'The provider does not show this part of the reasoning.' : '');
}
