// Follows every link of a built site in Debian's Chromium, as a reader would, and tells what there is to see:
//   node visit.mjs SITE/index.html
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { argv, stdout } from "node:process";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

// Without these Chromium itself calls out, and what the pages do could not be told from it.
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const QUIETER = ["--disable-component-update", "--disable-sync"];

const start = pathToFileURL(resolve(argv[2])).href;
const profile = await mkdtemp(join(tmpdir(), "allocation-site-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [...QUIET, ...QUIETER],
  viewport: { width: 1400, height: 900 },
});
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  const requests = [];
  const errors = [];
  browser.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(`${page.url()}: ${error}`));
  page.on("console", (message) => message.type() === "error" && errors.push(`${page.url()}: ${message.text()}`));

  const pages = {};
  const waiting = [start];
  while (waiting.length > 0) {
    const address = waiting.shift();
    if (address in pages) continue;
    await page.goto(address, { waitUntil: "load" });
    const links = await page.$$eval("a[href]", (all) => all.map((each) => each.href));
    const missing = await page.$$eval("a[href^='#']", (all) =>
      all.map((each) => each.hash.slice(1)).filter((id) => id && !document.getElementById(decodeURIComponent(id))),
    );
    const blank = await page.$$eval("img", (all) => all.filter((each) => !each.naturalWidth).map((each) => each.src));
    pages[address] = { title: await page.title(), text: await page.locator("body").innerText(), missing, blank };
    const inside = links.map((link) => link.split(/[#?]/)[0]).filter((link) => link.endsWith(".html"));
    waiting.push(...inside.filter((link) => link.startsWith("file:")));
  }

  // From a file, the search finds pages but cannot fetch their summaries: what fails from here on is that.
  const failed = [...errors];
  await page.goto(new URL("search.html?q=unroutable", start).href, { waitUntil: "load" });
  await page.locator("#search-results li a").first().waitFor({ timeout: 20_000 });
  const found = await page.locator("#search-results li a").allInnerTexts();
  stdout.write(JSON.stringify({ pages, requests, errors: failed, found }) + "\n");
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
