import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';

import type { BundleArrival, KernelClient } from './client';
import { drawnRecords, findCell, storedRecord } from './notebook';
import { type DrawnTurn, isFinished, type MimeBundle, recordOf, type SyncReply, type TurnRecord } from './protocol';
import type { Storage } from './storage';

/**
 * Gives cells their turns back after a reload: JupyterLab drops the later output of a cell that was running, so the
 * bundles come from the kernel's memory, and their updates are applied here.
 */
export class Restore {
  constructor(
    private readonly client: KernelClient,
    private readonly storage: Storage
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
      if (this.drawnByLab.has(displayId) || !record || !cell || isRunningHere(cell)) {
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
      if (isRunning && turn.display_id) {
        this.followed.set(turn.display_id, { cellId: cell.id, turnId: turn.turn_id });
      }
      if (isRunning || this.isMissing(cell, record)) {
        show(cell, turn.turn_id, turn.bundle);
        if (isFinished(record)) {
          void this.storage.store(record);
        }
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
    const followed = this.followed.get(displayId);
    if (!followed) {
      if (this.client.state === 'connecting') {
        this.latest.set(displayId, bundle); // overtook the answer to our hello
      }
      return;
    }
    const cell = findCell(this.client.context.model, followed.cellId, followed.turnId);
    if (cell) {
      show(cell, followed.turnId, bundle);
    }
    const record = recordOf(bundle);
    if (record && isFinished(record)) {
      this.followed.delete(displayId);
    }
  }

  private readonly drawnByLab = new Set<string>();
  private readonly followed = new Map<string, { cellId: string; turnId: string }>();
  private readonly latest = new Map<string, MimeBundle>();
}

/** Whether this page runs the cell, so that JupyterLab draws it. JupyterLab 4.2 does not say. */
function isRunningHere(cell: ICodeCellModel): boolean {
  return (cell as { executionState?: string }).executionState === 'running';
}

/** Put the bundle in the place of the turn's output, or of all outputs where the cell does not show the turn. */
function show(cell: ICodeCellModel, turnId: string, bundle: MimeBundle): void {
  const output = { output_type: 'display_data', data: bundle, metadata: {} } as IOutput;
  const drawn = drawnRecords(cell).find(({ record }) => record.turn_id === turnId);
  if (drawn) {
    cell.outputs.set(drawn.index, output);
  } else {
    cell.outputs.clear();
    cell.outputs.add(output);
  }
}
