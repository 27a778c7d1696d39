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
  /** Whether the line waits for stock if no batch can take it now; false when null. */
  wait?: boolean | null;
  /** Of the lines that wait, those with the higher priority are served first; 0 when null. */
  priority?: number | null;
  /** No batch that arrives after this day is for the line; null if any will do. */
  needed_by?: string | null;
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

/** Ask whether an order line may be shipped. After `shipped` it can neither be moved nor cancelled. */
export interface Ship {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The line's id, as it was when it was allocated; empty when absent or null. */
  lineid?: string | null;
}

/** Set the quantity of an order line. */
export interface ChangeLineQuantity {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The new quantity, and not the difference. */
  qty: number;
  /** The line's id, as it was when it was allocated; empty when absent or null. */
  lineid?: string | null;
  /** The quantity that the sender knows. If the line has another by now, the command is rejected. */
  from_qty?: number | null;
}

/** Hold stock for an order line that may be ordered soon, such as for a basket. A hold never waits for stock. */
export interface Hold {
  /** The order that the line will belong to. */
  orderid: string;
  /** The product that may be ordered. */
  sku: string;
  /** The quantity to hold. */
  qty: number;
  /** Distinguishes lines of one order that have the same SKU; empty when absent or null. */
  lineid?: string | null;
  /** When the hold lapses. The worker may hold for a shorter time; `held` tells until when. */
  until: string;
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

/** Tell a new day of arrival of a batch, or that it has arrived. */
export interface ChangeBatchEta {
  /** The batch's reference. */
  batchref: string;
  /** The day on which the batch arrives; null if it has arrived in the warehouse. */
  eta: string | null;
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
  /** The most that one batch could give, of the batches that arrive by the day that the line is needed. */
  largest_available: number;
  /**
   * The first day on which another of these batches arrives that has stock left; null if none does. The batch that
   * could give the most is not counted.
   */
  next_eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** No batch can take an order line, and it waits for stock. */
export interface Backordered {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that is ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The ordered quantity. */
  qty: number;
  /** The most that one batch could give, of the batches that arrive by the day that the line is needed. */
  largest_available: number;
  /**
   * The first day on which another of these batches arrives that has stock left; null if none does. The batch that
   * could give the most is not counted.
   */
  next_eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** The batch of an order line arrives on another day, or has arrived. */
export interface PromiseChanged {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that is ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The allocated quantity: the whole line. */
  qty: number;
  /** The batch that the line is allocated to, as before. */
  batchref: string;
  /** The day on which the batch arrives now; null if it is in the warehouse. */
  eta: string | null;
  /** The day of arrival before. */
  previous_eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** The quantity of an order line was changed. */
export interface LineQuantityChanged {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The new quantity. */
  qty: number;
  /** The quantity before. */
  previous_qty: number;
  /** The batch that the whole line is allocated to now; null if it holds no stock. */
  batchref: string | null;
  /** The day on which that batch arrives; null if it is in the warehouse, or if there is none. */
  eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** An order line was shipped. */
export interface Shipped {
  /** The order that the line belongs to. */
  orderid: string;
  /** The product that was ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The shipped quantity: the whole line. */
  qty: number;
  /** The batch that the line was taken from. */
  batchref: string;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** Stock is held for an order line. It takes the place of what was held for the line before. */
export interface Held {
  /** The order that the line will belong to. */
  orderid: string;
  /** The product that may be ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The held quantity: the whole line. */
  qty: number;
  /** The batch whose stock is held. */
  batchref: string;
  /** The day on which the batch arrives; null if it is in the warehouse. */
  eta: string | null;
  /** When the hold lapses, unless the line is allocated before. */
  until: string;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** The stock that was held for an order line is free again. The line is as if it had never been asked for. */
export interface HoldLapsed {
  /** The order that the line would have belonged to. */
  orderid: string;
  /** The product that was not ordered. */
  sku: string;
  /** The line's id; empty when the command had none. */
  lineid: string;
  /** The quantity that was held. */
  qty: number;
  /** The batch whose stock was held. */
  batchref: string;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** An order line was cancelled, or lost its stock because its batch became smaller or comes later. */
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
   * cancelled. `batch-quantity-changed`: The batch became too small for the line. `batch-eta-changed`: The batch
   * arrives after the day by which the line is needed.
   */
  reason: "cancelled" | "batch-quantity-changed" | "batch-eta-changed" | (string & {});
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

/** The day of arrival of a batch was changed, or the batch has arrived. */
export interface BatchEtaChanged {
  /** The batch's reference. */
  batchref: string;
  /** The product that the batch holds. */
  sku: string;
  /** The day on which the batch arrives now; null if it is in the warehouse. */
  eta: string | null;
  /** The day of arrival before; null if the batch was in the warehouse. */
  previous_eta: string | null;
  /** Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored from a backup. */
  sequence: number;
}

/** A well-formed command was refused by a business rule. */
export interface CommandRejected {
  /** The command's type, such as allocate.v1. */
  command: string;
  /**
   * The reason for programs. Known reasons, to which later versions may add: `unknown-sku`: No batch of the SKU has
   * been created, not even after a short wait. `line-quantity-conflict`: The line has another quantity. `line-
   * cancelled`: The line was cancelled and stays so. `unknown-line`: No such line was ever asked for, not even after a
   * short wait. `not-enough-stock`: No batch can take the line in its new quantity; it keeps what it has. `line-not-
   * allocated`: The line holds no stock, or stock is only held for it. `line-shipped`: The line has been shipped.
   * `batch-not-arrived`: The batch of the line has not arrived, not even after a short wait. `batch-shipped`: More of
   * the batch has been shipped than it is to hold. `batch-exists`: The reference belongs to a batch that was created
   * with other content, or was pruned. `unknown-batch`: No batch has the reference, or it was pruned. `batch-arrived`:
   * The batch has arrived, so it has no day of arrival any more.
   */
  reason: "unknown-sku" | "line-quantity-conflict" | "line-cancelled" | "unknown-line" | "not-enough-stock" | "line-not-allocated" | "line-shipped" | "batch-not-arrived" | "batch-shipped" | "batch-exists" | "unknown-batch" | "batch-arrived" | (string & {});
  /** The reason for people, in one English sentence. */
  detail: string;
  /** The command's body, as it was sent. */
  data: Record<string, unknown>;
}

/** The body of each command by the AMQP property `type`. */
export interface Commands {
  "allocate.v1": Allocate;
  "deallocate.v1": Deallocate;
  "ship.v1": Ship;
  "change-line-quantity.v1": ChangeLineQuantity;
  "hold.v1": Hold;
  "create-batch.v1": CreateBatch;
  "change-batch-quantity.v1": ChangeBatchQuantity;
  "change-batch-eta.v1": ChangeBatchEta;
}

export type Command = Commands[keyof Commands];

/** The body of each event by the AMQP property `type`. */
export interface Events {
  "allocated.v1": Allocated;
  "out-of-stock.v1": OutOfStock;
  "backordered.v1": Backordered;
  "promise-changed.v1": PromiseChanged;
  "line-quantity-changed.v1": LineQuantityChanged;
  "shipped.v1": Shipped;
  "held.v1": Held;
  "hold-lapsed.v1": HoldLapsed;
  "deallocated.v1": Deallocated;
  "batch-created.v1": BatchCreated;
  "batch-quantity-changed.v1": BatchQuantityChanged;
  "batch-eta-changed.v1": BatchEtaChanged;
  "command-rejected.v1": CommandRejected;
}

export type Event = Events[keyof Events];
