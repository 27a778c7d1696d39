// Generated from the models by `make schemas`; a test fails when it is not what they say.

/** Allocate a whole order line to one batch of its SKU. */
export interface Allocate {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that is ordered. */
  sku: string;
  /** The ordered quantity. */
  qty: number;
  /** Distinguishes lines of one order that have the same SKU; empty when absent or null. */
  lineid?: string | null;
}

/** Cancel an order line: free its stock, and reject every later allocate of the line. */
export interface Deallocate {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The line's id, as it was when it was allocated; empty when absent or null. */
  lineid?: string | null;
}

/** Add a batch of stock that was purchased. */
export interface CreateBatch {
  /** The batch's unique reference. */
  batchref: string;
  /** The product that the batch holds. */
  sku: string;
  /** The purchased quantity. */
  qty: number;
  /** The day on which the batch arrives; null if it is in the warehouse. */
  eta?: string | null;
}

/** Correct the quantity of a batch that exists. */
export interface ChangeBatchQuantity {
  /** The batch's reference. */
  batchref: string;
  /** The new purchased quantity. */
  qty: number;
}

/** An order line was allocated to a batch. */
export interface Allocated {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that is ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The allocated quantity: the whole line. */
  qty: number;
  /** The batch that the line was allocated to. */
  batchref: string;
  /** The day on which the batch arrives; null if it is in the warehouse. */
  eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** No batch can take an order line. */
export interface OutOfStock {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that is ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The ordered quantity. */
  qty: number;
  /** The largest quantity that one batch could give. */
  largest_available: number;
  /** The day on which the next batch with stock arrives that largest_available does not count, or null. */
  next_eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** An order line was cancelled, or lost its stock because its batch became smaller. */
export interface Deallocated {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The line's quantity; 0 for a line that was never seen. */
  qty: number;
  /** The batch that held the line; null if the line held no stock. */
  batchref: string | null;
  /**
   * Why the line holds no stock any more. Known reasons, to which later versions may add: `cancelled`: The line was
   * cancelled. `batch-quantity-changed`: The batch became too small for the line.
   */
  reason: "cancelled" | "batch-quantity-changed" | (string & {});
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** A batch of stock was added. */
export interface BatchCreated {
  /** The batch's reference. */
  batchref: string;
  /** The product that the batch holds. */
  sku: string;
  /** The purchased quantity. */
  qty: number;
  /** The day on which the batch arrives; null if it is in the warehouse. */
  eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** The purchased quantity of a batch was changed. */
export interface BatchQuantityChanged {
  /** The batch's reference. */
  batchref: string;
  /** The product that the batch holds. */
  sku: string;
  /** The new purchased quantity. */
  qty: number;
  /** The previous purchased quantity. */
  previous_qty: number;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** A well-formed command was refused by a business rule. */
export interface CommandRejected {
  /** The command's type, such as allocate.v1. */
  command: string;
  /**
   * The reason for programs. Known reasons, to which later versions may add: `unknown-sku`: No batch of the SKU has
   * been created, not even after a short wait. `line-quantity-conflict`: The line holds stock in another quantity.
   * `line-cancelled`: The line was cancelled and stays so. `batch-exists`: The reference belongs to a batch that was
   * created with other content. `unknown-batch`: No batch has the reference.
   */
  reason: "unknown-sku" | "line-quantity-conflict" | "line-cancelled" | "batch-exists" | "unknown-batch" | (string & {});
  /** The reason for people, in one English sentence. */
  detail: string;
  /** The command's body, as it was sent. */
  data: Record<string, unknown>;
}

/** The body of each command by the AMQP property `type`. */
export interface Commands {
  "allocate.v1": Allocate;
  "deallocate.v1": Deallocate;
  "create-batch.v1": CreateBatch;
  "change-batch-quantity.v1": ChangeBatchQuantity;
}

export type Command = Commands[keyof Commands];

/** The body of each event by the AMQP property `type`. */
export interface Events {
  "allocated.v1": Allocated;
  "out-of-stock.v1": OutOfStock;
  "deallocated.v1": Deallocated;
  "batch-created.v1": BatchCreated;
  "batch-quantity-changed.v1": BatchQuantityChanged;
  "command-rejected.v1": CommandRejected;
}

export type Event = Events[keyof Events];
