import { JSONExt, type JSONObject, type PartialJSONValue } from '@lumino/coreutils';

import type { KernelClient } from './client';
import { drawnRecords, findCell, headerOf } from './notebook';
import { isFinished, isObject, METADATA_KEY, recordOf, type TurnRecord } from './protocol';

const SHOW_ATTEMPTS = 20;
const SHOW_PAUSE_MILLISECONDS = 50;

/**
 * Writes finished records into the notebook: `cell.metadata.claw` and, from the kernel, the header `metadata.claw`. It
 * never saves the document, and what is equal already is not written again.
 */
export class Storage {
  constructor(private readonly client: KernelClient) {
    client.bundleArrived.connect((_, { bundle }) => {
      const record = recordOf(bundle);
      if (record && isFinished(record)) {
        void this.store(record);
      }
    });
  }

  async store(record: TurnRecord): Promise<void> {
    const header = await this.client.request('header').then(
      reply => reply.header,
      () => null
    );
    // Another window may have run the cell: only the page whose document shows the turn stores it.
    for (let attempt = 0; attempt < SHOW_ATTEMPTS; attempt++) {
      if (this.client.context.isDisposed) {
        return;
      }
      if (this.write(record, header)) {
        return;
      }
      await new Promise(resolve => window.setTimeout(resolve, SHOW_PAUSE_MILLISECONDS));
    }
  }

  /** False where the document does not show the finished turn (yet). */
  private write(record: TurnRecord, header: unknown): boolean {
    const model = this.client.context.model;
    const cell = findCell(model, record.cell_id ?? '', record.turn_id);
    if (
      !cell ||
      !drawnRecords(cell).some(drawn => drawn.record.turn_id === record.turn_id && isFinished(drawn.record))
    ) {
      return false;
    }
    const isNewRecord = !isEqual(cell.sharedModel.getMetadata(METADATA_KEY), record);
    const isNewHeader = isObject(header) && !isEqual(headerOf(model), header);
    if (isNewRecord || isNewHeader) {
      // Not undoable: taking back one's own typing must not take the record with it.
      model.sharedModel.transact(() => {
        if (isNewRecord) {
          cell.sharedModel.setMetadata(METADATA_KEY, record as unknown as JSONObject);
        }
        if (isNewHeader) {
          model.sharedModel.setMetadata(METADATA_KEY, header as JSONObject);
        }
      }, false);
    }
    return true;
  }
}

function isEqual(stored: unknown, value: unknown): boolean {
  return stored !== undefined && JSONExt.deepEqual(stored as PartialJSONValue, value as PartialJSONValue);
}
