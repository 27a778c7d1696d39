// Gives messages to what the generators made: `node feed.mjs < MESSAGES`. MESSAGES is a JSON list of [NAME, BODY], NAME
// being that of a type and BODY text. It prints for each what each generator's code writes again, null if it refused it.
import { readFileSync } from "node:fs";
import { stdout } from "node:process";

import * as modelina from "./build/modelina.js";
import { Convert } from "./build/quicktype.js";
import * as zod from "./build/zod.js";

const written = (write) => {
  try {
    return JSON.parse(write());
  } catch {
    return null;
  }
};
const lower = (name) => name[0].toLowerCase() + name.slice(1);

const messages = JSON.parse(readFileSync(0, "utf8"));
const verdicts = messages.map(([name, body]) => ({
  modelina: written(() => modelina[name].unmarshal(body).marshal()),
  quicktype: written(() => Convert[`${lower(name)}ToJson`](Convert[`to${name}`](body))),
  zod: written(() => JSON.stringify(zod[name].parse(JSON.parse(body)))),
}));
stdout.write(JSON.stringify(verdicts));
