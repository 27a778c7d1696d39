// Asks for stock for an order line, and prints the event that answers:
//   AMQP_URL=amqp://guest:guest@localhost/ node allocate.mjs ORDERID SKU QTY [MESSAGE_ID]
// It ends with 1 if the command becomes a dead letter, or no event answers within PATIENCE seconds, 30 by default.
import { randomUUID } from "node:crypto";
import process, { argv, env, exit } from "node:process";

import { connect } from "amqplib";

/** @import { Allocate } from "allocation-contracts" */
/** @import { ConsumeMessage } from "amqplib" */

const [, , orderid, sku, qty, messageId = randomUUID()] = argv;
const patience = Number(env.PATIENCE ?? 30);
if (!orderid || !sku || !qty) {
  console.error("usage: node allocate.mjs ORDERID SKU QTY [MESSAGE_ID]");
  exit(2);
}
const connection = await connect(env.AMQP_URL ?? "amqp://guest:guest@localhost/");
const channel = await connection.createConfirmChannel();

// Listen first, so that the answer can't be missed. This queue goes when the program does; a program that must see every
// event, whether it runs or not, has a durable one of its own.
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, "allocation.events", "#");
await channel.bindQueue(queue, "allocation.dead-letters", "");

/** @type {Promise<ConsumeMessage>} */
const answer = new Promise((resolve, reject) => {
  const fail = (/** @type {string} */ sentence) => reject(new Error(sentence));
  const hear = (/** @type {ConsumeMessage | null} */ message) => {
    if (message === null) return fail("The broker took the queue of the answers away.");
    const { messageId: id, headers = {} } = message.properties;
    if (headers.causation_id === messageId) resolve(message);
    // Commands come back to their sender only as dead letters. One that no queue takes has no reason beside it.
    if (id === messageId) fail(`It is a dead letter: ${headers["x-reason"] ?? "unroutable"}. ${headers["x-detail"] ?? ""}`);
  };
  channel.consume(queue, hear, { noAck: true }).catch(reject);
  // A command that no queue takes, and not the dead letters either, comes back before its confirm.
  channel.once("return", () => fail("No queue takes it: the worker's exchanges and queues do not stand on this broker."));
  const late = [
    `No event answered ${messageId} within ${patience} s.`,
    "Either the worker is stopped; then it answers later.",
    "Or the command was answered before under this MESSAGE_ID: what is sent twice has no second effect and no second answer.",
    "Under another MESSAGE_ID, the same line gets the same answer once more.",
  ];
  setTimeout(() => fail(late.join(" ")), 1000 * patience).unref();
});

/** @type {Allocate} */
const command = { orderid, sku, qty: Number(qty) };
// The messageId is the idempotency key: publish again under the same one when it is not clear whether this arrived.
const properties = { messageId, type: "allocate.v1", contentType: "application/json", persistent: true, mandatory: true };
channel.publish("allocation.commands", "allocate", Buffer.from(JSON.stringify(command)), properties);
try {
  const [{ properties: about, content }] = await Promise.all([answer, channel.waitForConfirms()]);
  console.log(about.type, content.toString());
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
await connection.close();
