import type { ICodeCellModel } from '@jupyterlab/cells';
import type { JSONObject } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { KernelClient } from './client';
import { branchesOf, headerOf, isCodeCell, outlineOf, shownTurns } from './notebook';
import { isObject, type JSONRecord, textOf, textsOf, type TurnRecord } from './protocol';
import type { Storage } from './storage';

/** Where a turn stands: on the `path`, which the model sees; on a `branch`; in another `conversation`. */
export type Standing = 'path' | 'branch' | 'conversation';

/**
 * Which of the turns that a notebook shows the model sees. What a person does to the conversation is written into the
 * notebook's header, and the cells show the turns of the path where the notebook still has them.
 */
export class Branches {
  constructor(
    private readonly client: KernelClient,
    private readonly storage: Storage,
    private readonly runningCells: ReadonlySet<string>
  ) {
    client.headerTaken.connect((_, { header, isOurs }) => {
      const standing = JSON.stringify([header.session_id, header.off_path]);
      if (standing !== this.seen) {
        this.seen = standing;
        this.forget();
      }
      if (isOurs) {
        void this.take(header);
      }
    });
    client.bundleArrived.connect((_, { isFirst }) => {
      if (isFirst) {
        client.refresh().catch(() => undefined); // turns may have left the path when this one began
      }
    });
    void client.context.ready.then(() => {
      if (!client.context.isDisposed) {
        client.context.model.metadataChanged.connect(() => this.forget());
        this.forget();
      }
    });
  }

  get changed(): ISignal<this, undefined> {
    return this._changed;
  }

  standing(record: TurnRecord): Standing {
    const { sessionId, offPath } = this.known();
    if (sessionId && record.session_id !== sessionId) {
      return 'conversation';
    }
    return offPath.has(record.turn_id) ? 'branch' : 'path';
  }

  /** The turns that the cell of a record has had, this one among them, in the order they began; empty where it has had no other. */
  turnsOfCell(record: TurnRecord): TurnRecord[] {
    const others = this.known().byCell.get(record.cell_id ?? '') ?? [];
    const found = others.filter(other => other.turn_id !== record.turn_id && other.session_id === record.session_id);
    return found.length > 0 ? [...found, record].sort(byBeginning) : [];
  }

  get canReturn(): boolean {
    return this.client.state === 'live';
  }

  /** Go on with the branch of a turn. Rejects with what stands in the way. */
  use(turnId: string): Promise<void> {
    return this.client.use(turnId);
  }

  private async take(header: JSONRecord): Promise<void> {
    const stored = headerOf(this.client.context.model);
    const isSame =
      isObject(stored) && ['session_id', 'turns', 'off_path', 'memory'].every(key => isEqual(stored[key], header[key]));
    if (isSame || (!stored && textsOf(header.memory).length === 0)) {
      return;
    }
    this.storage.writeHeader(header as JSONObject);
    await this.showPath(header);
  }

  /** Cells whose turn on the path is kept among the branches show it again, and what they show goes there. */
  private async showPath(header: JSONRecord): Promise<void> {
    const model = this.client.context.model;
    const shown = new Set(outlineOf(model).flatMap(([, turnIds]) => turnIds));
    const path = textsOf(header.turns);
    const wanted = new Map<ICodeCellModel, TurnRecord>();
    for (const record of branchesOf(model)) {
      if (!path.includes(record.turn_id) || shown.has(record.turn_id)) {
        continue;
      }
      const cell = [...model.cells].find(candidate => candidate.id === record.cell_id);
      if (cell && isCodeCell(cell) && !this.runningCells.has(cell.id)) {
        const isTaken = shownTurns(cell).some(turnId => path.includes(turnId));
        if (!isTaken) {
          wanted.set(cell, record);
        }
      }
    }
    if (wanted.size === 0) {
      return;
    }
    const bundles = await this.client.bundlesOf([...wanted.values()].map(record => record.turn_id));
    for (const [cell, record] of wanted) {
      const bundle = bundles.get(record.turn_id);
      if (bundle && !model.isDisposed) {
        this.storage.exchange(cell, record, bundle);
      }
    }
    this.client.report();
  }

  /** The header can be large: it is read once for each of its states. */
  private known(): { sessionId: string; offPath: Set<string>; byCell: Map<string, TurnRecord[]> } {
    if (!this.index) {
      const model = this.client.context.model;
      const stored = headerOf(model);
      const header = this.client.header ?? (isObject(stored) ? stored : {});
      const byCell = new Map<string, TurnRecord[]>();
      for (const record of branchesOf(model)) {
        const cellId = record.cell_id ?? '';
        byCell.set(cellId, [...(byCell.get(cellId) ?? []), record]);
      }
      byCell.delete('');
      this.index = { sessionId: textOf(header.session_id), offPath: new Set(textsOf(header.off_path)), byCell };
    }
    return this.index;
  }

  private forget(): void {
    this.index = null;
    this._changed.emit(undefined);
  }

  private index: { sessionId: string; offPath: Set<string>; byCell: Map<string, TurnRecord[]> } | null = null;
  private seen = '';
  private readonly _changed = new Signal<this, undefined>(this);
}

function byBeginning(one: TurnRecord, other: TurnRecord): number {
  return (one.started_at ?? '') < (other.started_at ?? '') ? -1 : 1;
}

function isEqual(one: unknown, other: unknown): boolean {
  return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}
