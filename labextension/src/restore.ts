import type { ICodeCellModel } from '@jupyterlab/cells';
import { NotebookActions } from '@jupyterlab/notebook';

import type { BundleArrival, KernelClient } from './client';
import { drawnRecords, findCell, storedRecord } from './notebook';
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
      // What runs is JupyterLab's to draw; what ended may have gone to a cell that was moved or reloaded meanwhile.
      if (!isFinished(record) && (this.drawnByLab.has(displayId) || this.runningCells.has(cell.id))) {
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
    const stored = storedRecord(cell);
    return !stored || (stored.started_at ?? '') < (record.started_at ?? '');
  }

  private follow({ displayId, bundle, isFirst, isOurs }: BundleArrival): void {
    if (isFirst && isOurs) {
      this.drawnByLab.add(displayId);
      this.followed.delete(displayId);
    }
    if (this.drawnByLab.has(displayId)) {
      return;
    }
    const place = this.followed.get(displayId);
    if (!place) {
      if (this.client.state === 'connecting') {
        this.latest.set(displayId, bundle); // overtook the answer to our hello
      }
      return;
    }
    place.show(bundle);
    const record = recordOf(bundle);
    if (record && isFinished(record)) {
      this.followed.delete(displayId);
    }
  }

  private readonly drawnByLab = new Set<string>();
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
