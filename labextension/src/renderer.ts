import { type IRenderMime, type IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';

import type { Branches } from './branches';
import type { KernelClients } from './clients';
import { el, formatSeconds, icon, setHidden, setSentence, setText } from './dom';
import { formatCost, formatElapsed, formatUsage } from './footer';
import { FreeLayout } from './layout';
import { isNewerRecord, isRecord, textOf, TURN_MIME, type TurnRecord } from './protocol';
import { QuietSanitizer } from './sanitizer';
import { StandingLine, Versions } from './standing';
import { StepList } from './steps';
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
  max_session_turns: 'stopped at the conversation’s turn limit',
  max_notebook_cost: 'stopped at the notebook’s cost limit',
  max_notebook_seconds: 'stopped at the notebook’s time limit',
  max_notebook_tokens: 'stopped at the notebook’s token limit',
  max_notebook_turns: 'stopped at the notebook’s turn limit',
  loop: 'stopped: the model went round in circles',
  refusal: 'the model refused',
  interrupted: 'interrupted',
  incomplete: 'not finished'
};

/**
 * Draws one turn and changes what is drawn in place: each block of each step and each call keeps its element from its
 * first character to the finished record, and so keeps the reader's selection, scroll place and opened details.
 */
export class TurnRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(
    private readonly clients: KernelClients,
    private readonly branchesAt: (node: HTMLElement) => Branches | null,
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
    this.steps = new StepList({
      layout: this.free,
      rendermime: rendermime.clone(here),
      quietRendermime: rendermime.clone({ ...here, sanitizer: new QuietSanitizer(rendermime.sanitizer) }),
      findClient: () => this.clients.find(this.liveKernelId)
    });
    const use = (turnId: string): Promise<void> => this.branchesAt(this.node)?.use(turnId) ?? Promise.resolve();
    this.standing = new StandingLine(use);
    this.versions = new Versions(use);
    this.announcement.setAttribute('aria-live', 'polite');
    const end = el('div', 'claw-End', this.footer, this.versions.node);
    this.node.append(
      this.standing.node,
      this.notices,
      this.steps.node,
      this.todos.node,
      this.error,
      end,
      this.announcement
    );
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
      this.steps.forget();
      this.turnId = record.turn_id;
    }
    const live = record.live;
    const liveness = live ? this.clients.liveness(textOf(live.kernel_id), this.node) : 'expired';
    this.liveKernelId = textOf(live?.kernel_id);
    const isRunning = live !== undefined && liveness !== 'expired';
    this.node.dataset.state = live === undefined ? 'finished' : isRunning ? 'running' : 'expired';
    this.node.setAttribute('aria-busy', String(isRunning));
    this.drawNotices(record.notices ?? []);
    this.steps.update(record, liveness, this.trusted);
    this.drawStanding(record);
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

  /** Whether the model sees this turn, and which others its cell has had. */
  private drawStanding(record: TurnRecord): void {
    const branches = this.isAttached && !record.live ? this.branchesAt(this.node) : null;
    const standing = branches?.standing(record) ?? 'path';
    const canReturn = branches?.canReturn ?? false;
    this.node.dataset.standing = standing;
    this.standing.update(standing, record.turn_id, canReturn);
    this.versions.update(record.turn_id, branches?.turnsOfCell(record) ?? [], canReturn);
  }

  private drawError(error: { message?: string; remedy?: string } | null): void {
    setHidden(this.error, !error);
    const key = error ? `${textOf(error.message)}\n${textOf(error.remedy)}` : '';
    if (this.errorKey !== key) {
      this.errorKey = key;
      const text = el('span', 'claw-Error-text', textOf(error?.message) || 'The turn failed.');
      const remedy = el('span', 'claw-Error-remedy');
      setSentence(remedy, textOf(error?.remedy));
      this.error.replaceChildren(icon('warning'), text, ' ', remedy);
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
      formatUsage(record),
      formatCost(record),
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
        this.steps.tick();
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
  private readonly notices = el('div', 'claw-Notices');
  private readonly steps: StepList;
  private readonly standing: StandingLine;
  private readonly versions: Versions;
  private readonly todos = new TodoList();
  private readonly error = el('div', 'claw-Error');
  private readonly footer = el('div', 'claw-Footer');
  private readonly announcement = el('div', 'claw-Announcement');
}
