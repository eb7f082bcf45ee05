import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';

import { type CallFacts, CallView } from './call';
import type { KernelClient } from './client';
import type { Liveness } from './clients';
import { compactionLine } from './compaction';
import { el, setText } from './dom';
import type { FreeLayout } from './layout';
import { MarkdownText } from './markdown';
import {
  type Compaction,
  sourcesOf,
  type Step,
  type TextBlock,
  textOf,
  type ThinkingBlock,
  type ToolCall,
  type TurnRecord
} from './protocol';

interface ThinkingView {
  node: HTMLDetailsElement;
  text: HTMLElement;
}

interface Surroundings {
  layout: FreeLayout;
  rendermime: IRenderMimeRegistry;
  /** For what a model wrote: nothing in it loads an address. */
  quietRendermime: IRenderMimeRegistry;
  findClient: () => KernelClient | null;
}

/**
 * The steps of a turn: text, thinking, calls. Each keeps its element from its first character to the finished record, and
 * so keeps the reader's selection, scroll place and opened details.
 */
export class StepList {
  readonly node = el('div', 'claw-Steps');

  constructor(private readonly around: Surroundings) {}

  update(record: TurnRecord, liveness: Liveness, trusted: boolean): void {
    this.trusted = trusted;
    this.seen.clear();
    const steps = record.steps ?? [];
    steps.forEach((step, index) => this.drawStep(step, index, record, liveness));
    if (record.live) {
      this.drawLive(record, steps.length, liveness);
    }
    this.removeUnseen();
  }

  tick(): void {
    this.calls.forEach(call => call.tick());
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
      view = new MarkdownText(this.around.layout, this.around.quietRendermime);
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
      view = new CallView(this.around);
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
    const current = this.node.children.item(at);
    if (current !== node) {
      this.node.insertBefore(node, current);
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
    for (const widget of this.around.layout) {
      if (!this.node.contains(widget.node)) {
        widget.dispose();
      }
    }
  }

  /** Another turn is drawn here now. */
  forget(): void {
    this.seen.clear();
    this.removeUnseen();
    this.callInputs.clear();
  }

  private trusted = false;
  private readonly seen = new Set<string>();
  private readonly texts = new Map<string, MarkdownText>();
  private readonly thoughts = new Map<string, ThinkingView>();
  private readonly compactions = new Map<string, HTMLElement>();
  private readonly calls = new Map<string, CallView>();
  private readonly callInputs = new Map<string, ToolCall>();
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
