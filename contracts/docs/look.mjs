// Opens the page in Debian's Chromium as a reader would, and tells what there is to see: `node look.mjs PAGE PICTURE`.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { argv, stdout } from "node:process";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

// Without these Chromium itself calls out, and what the page does could not be told from it.
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const QUIETER = ["--disable-component-update", "--disable-sync"];

const [, , file, picture] = argv;
const profile = await mkdtemp(join(tmpdir(), "allocation-docs-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [...QUIET, ...QUIETER],
  viewport: { width: 1600, height: 1000 },
});
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  const requests = [];
  const errors = [];
  browser.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(pathToFileURL(resolve(file)).href, { waitUntil: "load" });

  // React marks what it has taken over; a click before that goes nowhere.
  const alive = (element) => Object.keys(element).some((key) => key.startsWith("__react"));
  await page.waitForFunction(`(${alive})(document.querySelector("#asyncapi a[href^='#message-']") ?? {})`);

  // From the contents to each message, and its payload unfolded: what a reader does who looks one up.
  const found = {};
  const links = page.locator('#asyncapi a[href^="#message-"]').locator("visible=true");
  for (const link of await links.all()) {
    const id = (await link.getAttribute("href")).slice(1);
    await link.click();
    const message = page.locator(`[id="${id}"]`);
    const payload = message.locator(`[id="${id}-payload"]`);
    await payload.getByText("Expand all").first().click();
    await payload.getByText("Collapse all").first().waitFor();
    found[(await link.innerText()).trim()] = await message.innerText();
  }
  if (picture) await page.screenshot({ path: picture });
  const text = await page.locator("#asyncapi").innerText();
  const addresses = await page.$$eval("[href], [src]", (all) => all.map((each) => each.href ?? each.src));
  stdout.write(JSON.stringify({ title: await page.title(), requests, errors, addresses, found, text }, null, 2) + "\n");
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
