// Runs each generator as its users would, on the schemas or on asyncapi.yaml. In build/ it writes TypeScript, and a file in
// which the types that came out stand beside those of ../typescript; `npm run build` also compiles them.
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { TS_COMMON_PRESET, TypeScriptGenerator } from "@asyncapi/modelina";
import { jsonSchemaToZod } from "json-schema-to-zod";
import { InputData, JSONSchemaInput, quicktype } from "quicktype-core";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILD = join(HERE, "build");
const CONTRACTS = join(HERE, "..");

async function schemas() {
  const files = await readdir(join(CONTRACTS, "schemas"));
  const texts = await Promise.all(files.map((file) => readFile(join(CONTRACTS, "schemas", file), "utf8")));
  return texts.map((text) => JSON.parse(text));
}

async function fromModelina() {
  const generator = new TypeScriptGenerator({ presets: [{ preset: TS_COMMON_PRESET, options: { marshalling: true } }] });
  const models = await generator.generate(await readFile(join(CONTRACTS, "asyncapi.yaml"), "utf8"));
  return models.map(({ result }) => `export ${result}\n`).join("\n");
}

async function fromQuicktype(all) {
  const input = new JSONSchemaInput(undefined);
  for (const schema of all) await input.addSource({ name: schema.title, schema: JSON.stringify(schema) });
  const inputData = new InputData();
  inputData.addInput(input);
  return (await quicktype({ inputData, lang: "typescript" })).lines.join("\n");
}

function fromJsonSchemaToZod(all) {
  const parts = all.map((schema) => `export ${jsonSchemaToZod(schema, { name: schema.title, module: "none" })}\n`);
  return ['import { z } from "zod";', ...parts].join("\n");
}

/** What a generator's type allows, ours must, and the other way round where the generator's has no index signature. */
function comparisons(all) {
  const lines = all.flatMap(({ title }) => [
    `export const quicktype${title}: ours.${title} = null! as quicktype.${title};`,
    `export const zod${title}: ours.${title} = null! as z.input<typeof zod.${title}>;`,
    `export const ours${title}: z.input<typeof zod.${title}> = null! as ours.${title};`,
  ]);
  return `import type { z } from "zod";
import type * as ours from "allocation-contracts";
import type * as quicktype from "./quicktype.js";
import type * as zod from "./zod.js";
${lines.join("\n")}
`;
}

const all = await schemas();
await mkdir(BUILD, { recursive: true });
const files = {
  "modelina.ts": await fromModelina(),
  "quicktype.ts": await fromQuicktype(all),
  "zod.ts": fromJsonSchemaToZod(all),
  "comparisons.ts": comparisons(all),
};
for (const [name, text] of Object.entries(files)) await writeFile(join(BUILD, name), text);
