// Asks for stock for an order line, and prints the event that answers:
//   AMQP_URL=amqp://guest:guest@localhost/ node allocate.mjs ORDERID SKU QTY [MESSAGE_ID]
import { randomUUID } from "node:crypto";
import { env, argv, exit } from "node:process";

import { connect } from "amqplib";

const [, , orderid, sku, qty, messageId = randomUUID()] = argv;
const connection = await connect(env.AMQP_URL ?? "amqp://guest:guest@localhost/");
const channel = await connection.createConfirmChannel();

// Listen first, so that the answer can't be missed. This queue goes when the program does; a program that must see every
// event, whether it runs or not, has a durable one of its own.
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, "allocation.events", "#");
const answer = new Promise((resolve) => {
  const hear = (message) => message.properties.headers.causation_id === messageId && resolve(message);
  channel.consume(queue, hear, { noAck: true });
});

// A command that no queue takes comes back before its confirm.
channel.once("return", () => {
  console.error("No queue takes it: the worker's exchanges and queues do not stand on this broker.");
  exit(1);
});
const body = Buffer.from(JSON.stringify({ orderid, sku, qty: Number(qty) }));
// The messageId is the idempotency key: publish again under the same one when it is not clear whether this arrived.
const properties = { messageId, type: "allocate.v1", contentType: "application/json", persistent: true, mandatory: true };
channel.publish("allocation.commands", "allocate", body, properties);
await channel.waitForConfirms();

const { properties: about, content } = await answer;
console.log(about.type, content.toString());
await connection.close();
