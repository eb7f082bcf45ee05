import type { ICellModel, ICodeCellModel } from '@jupyterlab/cells';
import type { INotebookModel } from '@jupyterlab/notebook';

import { isFinished, isObject, isRecord, METADATA_KEY, recordOf, TURN_MIME, type TurnRecord } from './protocol';

export function isCodeCell(cell: ICellModel): cell is ICodeCellModel {
  return cell.type === 'code';
}

/** The header as it is stored in the notebook, or null. */
export function headerOf(model: INotebookModel): unknown {
  return model.sharedModel.getMetadata(METADATA_KEY) ?? null;
}

/** The record stored in the cell's metadata, or null. */
export function storedRecord(cell: ICellModel): TurnRecord | null {
  const value: unknown = cell.sharedModel.getMetadata(METADATA_KEY);
  return isRecord(value) ? value : null;
}

/** The records drawn in the cell's outputs, with the index of the output. */
export function drawnRecords(cell: ICellModel): { index: number; record: TurnRecord }[] {
  const found: { index: number; record: TurnRecord }[] = [];
  if (isCodeCell(cell)) {
    for (let index = 0; index < cell.outputs.length; index++) {
      const record = recordOf(cell.outputs.get(index).data);
      if (record) {
        found.push({ index, record });
      }
    }
  }
  return found;
}

/** All records of the notebook, one per turn: the one with more steps, then the finished one. */
export function collectRecords(model: INotebookModel): TurnRecord[] {
  const records = new Map<string, TurnRecord>();
  const take = (record: TurnRecord): void => {
    const known = records.get(record.turn_id);
    if (!known || isFuller(record, known)) {
      records.set(record.turn_id, record);
    }
  };
  for (const cell of model.cells) {
    const stored = storedRecord(cell);
    const drawn = drawnRecords(cell).map(({ record }) => record);
    (stored ? [stored, ...drawn] : drawn).forEach(take);
    drawn.flatMap(replacedBy).forEach(take);
  }
  branchesOf(model).forEach(take);
  return [...records.values()].map(asStored);
}

/** The records that no cell shows any more, because their cells ran again. */
export function branchesOf(model: INotebookModel): TurnRecord[] {
  const header = headerOf(model);
  return isObject(header) && Array.isArray(header.branches) ? header.branches.filter(isRecord) : [];
}

/** The turns that the cell of a drawn record showed before, kept in its output where no extension was at work. */
export function replacedBy(record: TurnRecord): TurnRecord[] {
  return (record.replaced ?? []).filter(isRecord);
}

/** The ids of the turns in a cell's metadata and outputs. */
export function shownTurns(cell: ICellModel): string[] {
  const stored = storedRecord(cell);
  const ids = drawnRecords(cell).map(({ record }) => record.turn_id);
  return [...new Set(stored ? [stored.turn_id, ...ids] : ids)];
}

/** Each cell's id with the turns it shows, in order. */
export function outlineOf(model: INotebookModel): [string, string[]][] {
  return [...model.cells].map(cell => [cell.id, shownTurns(cell)]);
}

/** Whether anything in the notebook says that Claw was or will be at work in it. */
export function hasTraces(model: INotebookModel): boolean {
  if (isObject(headerOf(model))) {
    return true;
  }
  for (const cell of model.cells) {
    if (cell.sharedModel.getMetadata(METADATA_KEY) !== undefined || /^\s*%%claw\b/.test(cell.sharedModel.getSource())) {
      return true;
    }
    if (isCodeCell(cell)) {
      for (let index = 0; index < cell.outputs.length; index++) {
        if (TURN_MIME in cell.outputs.get(index).data) {
          return true;
        }
      }
    }
  }
  return false;
}

/** The cell of a turn: by its id, else the one that shows the turn. */
export function findCell(model: INotebookModel, cellId: string, turnId: string): ICodeCellModel | null {
  let shows: ICodeCellModel | null = null;
  for (const cell of model.cells) {
    if (!isCodeCell(cell)) {
      continue;
    }
    if (cellId !== '' && cell.id === cellId) {
      return cell;
    }
    if (drawnRecords(cell).some(({ record }) => record.turn_id === turnId)) {
      shows = cell;
    }
  }
  return shows;
}

/** The record without what only a drawing has. */
export function asStored(record: TurnRecord): TurnRecord {
  const { live, replaced, ...rest } = record;
  return rest;
}

function isFuller(record: TurnRecord, known: TurnRecord): boolean {
  const difference = (record.steps?.length ?? 0) - (known.steps?.length ?? 0);
  return difference > 0 || (difference === 0 && isFinished(record) && !isFinished(known));
}
