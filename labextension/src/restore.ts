import type { ICodeCellModel } from '@jupyterlab/cells';
import { NotebookActions } from '@jupyterlab/notebook';

import type { BundleArrival, KernelClient } from './client';
import { branchesOf, drawnRecords, findCell, storedRecord } from './notebook';
import { TurnPlace } from './place';
import { type DrawnTurn, isFinished, type MimeBundle, recordOf, type SyncReply, type TurnRecord } from './protocol';
import type { Storage } from './storage';

/**
 * Gives cells their turns back after a reload: JupyterLab drops the later output of a cell that was running, so the
 * bundles come from the kernel's memory, and their updates are applied here.
 */
export class Restore {
  constructor(
    private readonly client: KernelClient,
    private readonly storage: Storage,
    private readonly runningCells: ReadonlySet<string>
  ) {
    client.bundleArrived.connect((_, arrival) => this.follow(arrival));
    client.rejoined.connect((_, reply) => this.restore(reply));
  }

  /** Whether JupyterLab was drawing a turn into a cell that is gone, and nothing has come of it since. */
  get hasStranded(): boolean {
    return [...this.drawnByLab].some(([displayId, cell]) => cell.isDisposed && !this.followed.has(displayId));
  }

  private restore(reply: SyncReply): void {
    const newest = new Map<string, { cell: ICodeCellModel; turn: DrawnTurn; record: TurnRecord }>();
    for (const turn of reply.turns) {
      const displayId = turn.display_id ?? '';
      const latest = this.latest.get(displayId);
      const record = recordOf(turn.bundle);
      const cell = findCell(this.client.context.model, turn.cell_id ?? '', turn.turn_id);
      if (!record || !cell) {
        continue;
      }
      // What runs is JupyterLab's to draw, as long as the cell it draws in is in the document.
      const isLabs = this.drawnByLab.has(displayId) ? this.isDrawnByLab(displayId) : this.runningCells.has(cell.id); // its first drawing is on the way
      if (!isFinished(record) && isLabs) {
        continue;
      }
      const isOvertaken = latest !== undefined && !isFinished(record);
      const entry = isOvertaken ? { ...turn, bundle: latest } : turn;
      const known = newest.get(cell.id);
      if (!known || (known.record.started_at ?? '') <= (record.started_at ?? '')) {
        newest.set(cell.id, { cell, turn: entry, record: recordOf(entry.bundle) ?? record });
      }
    }
    for (const { cell, turn, record } of newest.values()) {
      const isRunning = turn.is_running === true && !isFinished(record);
      if (!isRunning && !this.isMissing(cell, record)) {
        continue;
      }
      const place = new TurnPlace(this.client.context.model, cell.id, turn.turn_id);
      place.show(turn.bundle);
      if (isRunning && turn.display_id) {
        this.followed.set(turn.display_id, place);
      }
      if (isFinished(record)) {
        void this.storage.store(record);
      }
    }
    this.latest.clear();
  }

  /** A finished turn is put back only where its end was never seen: what a person cleared stays cleared. */
  private isMissing(cell: ICodeCellModel, record: TurnRecord): boolean {
    const drawn = drawnRecords(cell).find(candidate => candidate.record.turn_id === record.turn_id);
    if (drawn) {
      return !isFinished(drawn.record);
    }
    if (branchesOf(this.client.context.model).some(kept => kept.turn_id === record.turn_id)) {
      return false; // its cell shows another of its turns
    }
    const stored = storedRecord(cell);
    return !stored || (stored.started_at ?? '') < (record.started_at ?? '');
  }

  private follow({ displayId, bundle, isFirst, isOurs }: BundleArrival): void {
    const record = recordOf(bundle);
    const isEnd = record !== null && isFinished(record);
    if (isFirst && isOurs) {
      const cell = record && findCell(this.client.context.model, record.cell_id ?? '', record.turn_id);
      if (cell) {
        this.drawnByLab.set(displayId, cell);
        this.followed.delete(displayId);
      }
    }
    if (this.isDrawnByLab(displayId)) {
      if (isEnd) {
        this.drawnByLab.delete(displayId);
      }
      return;
    }
    const place = this.followed.get(displayId) ?? this.takeOver(displayId, bundle);
    if (!place) {
      if (this.client.state === 'connecting') {
        this.latest.set(displayId, bundle); // overtook the answer to our hello
      }
      return;
    }
    place.show(bundle);
    if (isEnd) {
      this.drawnByLab.delete(displayId);
      this.followed.delete(displayId);
    }
  }

  /** JupyterLab drew the turn into a cell that is gone; where the turn's cell is in the document all the same, it goes on there. */
  private takeOver(displayId: string, bundle: MimeBundle): TurnPlace | null {
    const record = this.drawnByLab.has(displayId) ? recordOf(bundle) : null;
    const cell = record && findCell(this.client.context.model, record.cell_id ?? '', record.turn_id);
    if (!cell) {
      return null;
    }
    const place = new TurnPlace(this.client.context.model, cell.id, record.turn_id);
    this.followed.set(displayId, place);
    return place;
  }

  private isDrawnByLab(displayId: string): boolean {
    const cell = this.drawnByLab.get(displayId);
    return cell !== undefined && !cell.isDisposed;
  }

  /** The cells in which JupyterLab draws turns: of a cell that was moved, or reloaded from disk, the model is another one. */
  private readonly drawnByLab = new Map<string, ICodeCellModel>();
  private readonly followed = new Map<string, TurnPlace>();
  private readonly latest = new Map<string, MimeBundle>();
}

/**
 * The ids of the cells that this page runs now, and so JupyterLab draws. A cell's own `executionState` would not do: in
 * a shared document it says the same to all pages, also to one that was reloaded.
 */
export function watchRunningCells(): ReadonlySet<string> {
  const running = new Set<string>();
  NotebookActions.executionScheduled.connect((_, { cell }) => running.add(cell.model.id));
  NotebookActions.executed.connect((_, { cell }) => running.delete(cell.model.id));
  return running;
}
