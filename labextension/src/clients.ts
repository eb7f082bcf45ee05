import type { INotebookTracker } from '@jupyterlab/notebook';
import { type ISignal, Signal } from '@lumino/signaling';

import { type FrontEnd, KernelClient, type NotebookContext } from './client';

/** `live`: can be answered here · `connecting`: not known yet · `expired`: its kernel is gone · `elsewhere`: no notebook. */
export type Liveness = 'live' | 'connecting' | 'expired' | 'elsewhere';

/** The clients of all open notebooks. */
export class KernelClients {
  constructor(
    private readonly tracker: INotebookTracker,
    private readonly frontEnd: FrontEnd
  ) {}

  get changed(): ISignal<this, undefined> {
    return this._changed;
  }

  /** The client of `context`: several views of one notebook share it. `start` is called where it is new. */
  open(context: NotebookContext, start: (client: KernelClient) => void): void {
    if (this.byContext.has(context)) {
      return;
    }
    const client = new KernelClient(context, this.frontEnd);
    this.byContext.set(context, client);
    client.changed.connect(() => this._changed.emit(undefined));
    context.disposed.connect(() => {
      this.byContext.delete(context);
      this._changed.emit(undefined);
    });
    start(client);
  }

  /** The client of the notebook with this model. */
  ofModel(model: unknown): KernelClient | null {
    return [...this.byContext].find(([context]) => context.model === model)?.[1] ?? null;
  }

  get(context: NotebookContext): KernelClient | null {
    return this.byContext.get(context) ?? null;
  }

  /** The client of the notebook that `node` is in. */
  at(node: HTMLElement): KernelClient | null {
    const panel = this.tracker.find(candidate => candidate.node.contains(node));
    return panel ? this.get(panel.context) : null;
  }

  /** What is drawn may be otherwise now. */
  redraw(): void {
    this._changed.emit(undefined);
  }

  /** The client whose kernel process has this id of Claw's. */
  find(kernelId: string): KernelClient | null {
    return kernelId ? ([...this.byContext.values()].find(client => client.kernelId === kernelId) ?? null) : null;
  }

  /** What a card of `kernelId` drawn at `node` can still do. */
  liveness(kernelId: string, node: HTMLElement): Liveness {
    if (this.find(kernelId)) {
      return 'live';
    }
    if (!node.isConnected) {
      return 'connecting';
    }
    const client = this.at(node);
    if (!client) {
      return 'elsewhere';
    }
    return client.state === 'connecting' ? 'connecting' : 'expired';
  }

  private readonly byContext = new Map<NotebookContext, KernelClient>();
  private readonly _changed = new Signal<this, undefined>(this);
}
