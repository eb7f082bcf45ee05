import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { UUID } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import { collectRecords, hasTraces, headerOf, outlineOf } from './notebook';
import {
  type AnswerName,
  COMM_TARGET,
  type DrawnTurn,
  isDrawnTurn,
  isObject,
  type JSONRecord,
  type MimeBundle,
  PROTOCOL_VERSION,
  type ResolveReply,
  type SyncReply,
  textOf,
  TURN_MIME
} from './protocol';
import { forget, isRemembered, remember } from './remembered';

export type NotebookContext = NotebookPanel['context'];

const REPLY_TIMEOUT_SECONDS = 4;

/** Who we are, as told to the kernel. */
export interface FrontEnd {
  ui: 'jupyterlab' | 'notebook';
  ui_version: string;
}

/** `connecting`: nothing is known yet · `live`: Claw answered · `absent`: there is no kernel, or no Claw in it. */
export type ClientState = 'connecting' | 'live' | 'absent';

/** A turn's bundle that came over iopub. `isOurs`: this page ran the cell, so JupyterLab itself puts it there. */
export interface BundleArrival {
  displayId: string;
  bundle: MimeBundle;
  isFirst: boolean;
  isOurs: boolean;
}

/**
 * The way to Claw in the kernel of one notebook: requests go over the control channel, which the kernel answers also
 * while a cell blocks its main thread.
 */
export class KernelClient {
  constructor(
    readonly context: NotebookContext,
    private readonly frontEnd: FrontEnd
  ) {
    const session = context.sessionContext;
    session.kernelChanged.connect((_, change) => this.attach(change.newValue));
    context.pathChanged.connect(() => {
      if (this.state === 'live') {
        void this.hello(1, false);
      }
    });
    void context.ready.then(() => this.attach(session.session?.kernel ?? null));
  }

  /** Claw's id of the kernel process, or empty. */
  get kernelId(): string {
    return this._kernelId;
  }

  get state(): ClientState {
    return this._state;
  }

  get changed(): ISignal<this, undefined> {
    return this._changed;
  }

  /** The kernel's answer to the hello of a page that came to a kernel at work: what it drew before. */
  get rejoined(): ISignal<this, SyncReply> {
    return this._rejoined;
  }

  get bundleArrived(): ISignal<this, BundleArrival> {
    return this._bundleArrived;
  }

  /** Ask the kernel. Rejects with one clear sentence where it does not answer in time or answers with an error. */
  request(op: string, fields: JSONRecord = {}): Promise<JSONRecord> {
    const kernel = this.kernel;
    if (!kernel) {
      return Promise.reject(new Error('The notebook has no kernel.'));
    }
    const message = {
      header: {
        msg_id: UUID.uuid4(),
        msg_type: 'claw_request',
        session: kernel.clientId,
        username: kernel.username,
        date: new Date().toISOString(),
        version: '5.3'
      },
      parent_header: {},
      metadata: {},
      content: { version: PROTOCOL_VERSION, op, ...fields },
      channel: 'control',
      buffers: []
    } as unknown as KernelMessage.IControlMessage;
    return new Promise((resolve, reject) => {
      const future = kernel.sendControlMessage(message, true, true);
      const timer = window.setTimeout(() => {
        reject(new Error('The kernel did not answer.'));
        future.dispose();
      }, REPLY_TIMEOUT_SECONDS * 1000);
      // onReply, not done: done also waits for the kernel's idle message, which comes later.
      future.onReply = reply => {
        window.clearTimeout(timer);
        const content: unknown = reply.content;
        if (isObject(content) && content.status === 'ok') {
          resolve(content);
        } else {
          reject(new Error(textOf(isObject(content) ? content.message : '') || 'The kernel refused the request.'));
        }
      };
      future.done.catch(() => {
        window.clearTimeout(timer);
        reject(new Error('The kernel was restarted.'));
      });
    });
  }

  /** Cells were started in one moment, and their code is on its way: the kernel hears of it before it can begin them all. */
  cellsStarted(cellIds: string[]): void {
    cellIds.forEach(id => this.runs.set(id, cellIds.length > 1));
    this.report();
  }

  cellEnded(cellId: string): void {
    this.runs.delete(cellId);
  }

  /** Tell the kernel what the notebook shows now. */
  report(): void {
    if (this.state === 'live') {
      this.request('notebook', this.outline()).catch(() => undefined); // a kernel of an older version
    }
  }

  /** Ask for what the kernel drew, so that what is missing here can be put back. */
  async rejoin(): Promise<void> {
    const reply = await this.request('sync');
    this._rejoined.emit({ kernel_id: this.kernelId, turns: drawnTurns(reply) });
  }

  /** The session's header as the kernel last gave it, or null. */
  get header(): JSONRecord | null {
    return this.state === 'live' ? this._header : null;
  }

  /** The kernel gave its header. `isOurs`: after something that a person did in this page. */
  get headerTaken(): ISignal<this, { header: JSONRecord; isOurs: boolean }> {
    return this._headerTaken;
  }

  /** What a command asks this page to run or show. */
  get runsAsked(): ISignal<this, JSONRecord[]> {
    return this._runsAsked;
  }

  /** Ask for the header as it is now. */
  async refresh(): Promise<void> {
    this.takeHeader((await this.request('header')).header, false);
  }

  /** Go on with the branch or conversation of a turn. Rejects with what stands in the way. */
  async use(turnId: string): Promise<void> {
    this.takeHeader((await this.request('use', { turn_id: turnId })).header, true);
  }

  /** What to show of these turns, by turn id. */
  async bundlesOf(turnIds: string[]): Promise<Map<string, MimeBundle>> {
    return new Map(
      drawnTurns(await this.request('turns', { turns: turnIds })).map(turn => [turn.turn_id, turn.bundle])
    );
  }

  private takeHeader(header: unknown, isOurs: boolean): void {
    if (isObject(header)) {
      this._header = header;
      this._headerTaken.emit({ header, isOurs });
    }
  }

  /** A cell has ended: what it did to the conversation, and what it asks of its page. */
  private async askAfterCell(isOurs: boolean): Promise<void> {
    const reply = await this.request('ended');
    this.takeHeader(reply.header, isOurs);
    if (Array.isArray(reply.run) && reply.run.length > 0) {
      this._runsAsked.emit(reply.run.filter(isObject));
    }
  }

  private outline(): JSONRecord {
    return { cells: outlineOf(this.context.model), runs: Object.fromEntries(this.runs) };
  }

  async resolve(requestId: string, answer: AnswerName, message: string, selections: string[][]): Promise<ResolveReply> {
    const reply = await this.request('resolve', {
      request_id: requestId,
      answer,
      ...(message ? { message } : {}),
      ...(selections.length > 0 ? { selections } : {})
    });
    return {
      is_accepted: reply.is_accepted === true,
      answered_by: (textOf(reply.answered_by) || null) as ResolveReply['answered_by'] & string
    };
  }

  async interruptTurns(): Promise<void> {
    const reply = await this.request('sync');
    const running = drawnTurns(reply).filter(turn => turn.is_running);
    await Promise.all(running.map(turn => this.request('interrupt', { turn_id: turn.turn_id })));
  }

  private attach(kernel: Kernel.IKernelConnection | null): void {
    if (kernel === this.kernel) {
      return;
    }
    if (this.kernel) {
      this.kernel.statusChanged.disconnect(this.onStatus, this);
      this.kernel.iopubMessage.disconnect(this.onIopub, this);
    }
    this.kernel = kernel;
    this.greetings++;
    if (!kernel) {
      this.set('absent');
      return;
    }
    kernel.registerCommTarget(COMM_TARGET, () => {
      void this.hello(1, false);
    });
    kernel.statusChanged.connect(this.onStatus, this);
    kernel.iopubMessage.connect(this.onIopub, this);
    void this.lookForClaw(kernel);
  }

  /** After a reload nothing opens the comm again: ask a kernel that showed Claw before, or whose notebook does. */
  private async lookForClaw(kernel: Kernel.IKernelConnection): Promise<void> {
    const greeting = this.greetings;
    this.set('connecting');
    await this.context.ready;
    if (greeting !== this.greetings) {
      return; // another kernel, or the comm was opened meanwhile
    }
    if (isRemembered(kernel.id)) {
      await this.hello(3, true); // a busy kernel answers nothing to a new page for its first 3 s
    } else if (kernel.name === 'claw' || hasTraces(this.context.model)) {
      await this.hello(1, true);
    } else {
      this.set('absent');
    }
  }

  private async hello(attempts: number, isRejoining: boolean): Promise<void> {
    const greeting = ++this.greetings;
    const kernel = this.kernel;
    for (let attempt = 0; kernel && attempt < attempts; attempt++) {
      try {
        const reply = await this.request('hello', {
          ...this.frontEnd,
          path: this.context.localPath,
          header: headerOf(this.context.model),
          records: collectRecords(this.context.model),
          ...this.outline()
        });
        if (greeting !== this.greetings) {
          return;
        }
        remember(kernel.id);
        const kernelId = textOf(reply.kernel_id);
        this.set('live', kernelId);
        this.takeHeader(reply.header, false);
        if (isRejoining) {
          this._rejoined.emit({ kernel_id: kernelId, turns: drawnTurns(reply) });
        }
        return;
      } catch {
        if (greeting !== this.greetings || kernel.isDisposed) {
          return;
        }
      }
    }
    if (this.state === 'connecting') {
      this.set('absent');
    }
  }

  private onStatus(kernel: Kernel.IKernelConnection, status: Kernel.Status): void {
    if (['restarting', 'autorestarting', 'terminating', 'dead'].includes(status)) {
      this.greetings++;
      forget(kernel.id);
      this.set('absent');
    }
  }

  private onIopub(kernel: Kernel.IKernelConnection, message: KernelMessage.IIOPubMessage): void {
    const type = message.header.msg_type;
    const parent = message.parent_header;
    const isOurs = 'session' in parent && parent.session === kernel.clientId;
    if (isEndOfCell(message) && this.state === 'live') {
      this.askAfterCell(isOurs).catch(() => undefined); // a kernel of an older version
    }
    if (type !== 'display_data' && type !== 'update_display_data') {
      return;
    }
    const { data, transient } = (message as KernelMessage.IDisplayDataMsg).content;
    const displayId = transient?.display_id;
    if (!(TURN_MIME in data) || !displayId) {
      return;
    }
    this._bundleArrived.emit({ displayId, bundle: data, isFirst: type === 'display_data', isOurs });
  }

  private set(state: ClientState, kernelId = ''): void {
    if (state !== this._state || kernelId !== this._kernelId) {
      this._state = state;
      this._kernelId = kernelId;
      this._changed.emit(undefined);
    }
  }

  /** Of cells that were started and have not ended: whether others were started in the same moment. */
  private readonly runs = new Map<string, boolean>();
  private kernel: Kernel.IKernelConnection | null = null;
  private greetings = 0;
  private _state: ClientState = 'connecting';
  private _kernelId = '';
  private _header: JSONRecord | null = null;
  private readonly _headerTaken = new Signal<this, { header: JSONRecord; isOurs: boolean }>(this);
  private readonly _runsAsked = new Signal<this, JSONRecord[]>(this);
  private readonly _changed = new Signal<this, undefined>(this);
  private readonly _rejoined = new Signal<this, SyncReply>(this);
  private readonly _bundleArrived = new Signal<this, BundleArrival>(this);
}

function isEndOfCell(message: KernelMessage.IIOPubMessage): boolean {
  const parent = message.parent_header;
  return (
    message.header.msg_type === 'status' &&
    (message as KernelMessage.IStatusMsg).content.execution_state === 'idle' &&
    'msg_type' in parent &&
    parent.msg_type === 'execute_request'
  );
}

function drawnTurns(reply: JSONRecord): DrawnTurn[] {
  return Array.isArray(reply.turns) ? reply.turns.filter(isDrawnTurn) : [];
}
