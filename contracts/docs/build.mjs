// Makes a page of asyncapi.yaml that needs nothing else: `node build.mjs FROM TO`. Rendered here, so that it can be read
// and searched at once; the script at its end only lets a reader fold and unfold.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { argv, exit, stderr } from "node:process";


import { stringify } from "@asyncapi/parser";

import { read } from "./validate.mjs";

const require = createRequire(import.meta.url);
const { createElement } = require("react");
const { renderToString } = require("react-dom/server");
const { AsyncApiComponentWP } = require("@asyncapi/react-component");

const CONFIG = { show: { sidebar: true }, expand: { messageExamples: true }, sidebar: { showOperations: "byDefault" } };

// The component makes each content type a link to its registration. A page that needs no network has none to elsewhere.
const MEDIA_TYPES = "https://www.iana.org/assignments/media-types";

/** JSON that may stand inside a script element. */
const inScript = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");

async function page(document) {
  const style = await readFile(require.resolve("@asyncapi/react-component/styles/default.min.css"), "utf8");
  const script = await readFile(
    require.resolve("@asyncapi/react-component/browser/standalone/without-parser.js"),
    "utf8",
  );
  const schema = stringify(document);
  const body = renderToString(createElement(AsyncApiComponentWP, { schema, config: CONFIG }));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info().title()} ${document.info().version()}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<div id="asyncapi">${body}</div>
<script>${script.replaceAll("</script", "<\\/script")}</script>
<script>AsyncApiStandalone.hydrate({schema: ${inScript(schema)}, config: ${inScript(CONFIG)}}, document.getElementById("asyncapi"))</script>
</body>
</html>
`;
}

const [, , from, to] = argv;
const { document, diagnostics } = await read(from);
if (!document) {
  stderr.write(`${from} is not valid AsyncAPI: ${JSON.stringify(diagnostics, null, 2)}\n`);
  exit(1);
}
await mkdir(dirname(to), { recursive: true });
await writeFile(to, (await page(document)).replaceAll(MEDIA_TYPES, "#"));
