// Reads asyncapi.yaml with the specification's own parser: `node validate.mjs FILE`. It ends with 1 if there is an error.
import { readFile } from "node:fs/promises";
import { argv, exit, stdout } from "node:process";

import { Parser } from "@asyncapi/parser";

// It recommends a version that generators of types can't read.
const NOT_WANTED = "asyncapi-latest-version";

/** The parsed document, and what the parser has to say about it: [{severity, message, path}], 0 being an error. */
export async function read(file) {
  const { document, diagnostics: all } = await new Parser().parse(await readFile(file, "utf8"));
  const diagnostics = all.filter(({ code }) => code !== NOT_WANTED);
  return { document, diagnostics: diagnostics.map(({ severity, message, path }) => ({ severity, message, path })) };
}

if (import.meta.filename === argv[1]) {
  const { document, diagnostics } = await read(argv[2]);
  const messages = document?.allMessages().all().map((message) => message.id()) ?? [];
  stdout.write(JSON.stringify({ diagnostics, messages }, null, 2) + "\n");
  exit(document && !diagnostics.some(({ severity }) => severity === 0) ? 0 : 1);
}
