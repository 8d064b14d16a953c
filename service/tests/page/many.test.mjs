// The page with 1,000 and 100,000 keys, and screenshots of every size.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Etcd, finish, says, Service, shot, until } from "./world.mjs";

const KEYS = 100_000;
const ROLES = ["edge", "core", "storage", "build"], REGIONS = ["ap-south", "eu-west", "us-east"];
let etcd, service, browser, leases;

const value = (at) => ({
  ip: `10.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`, role: ROLES[at % 4], ready: at % 17 !== 0,
  version: `1.${at % 5}.0`, labels: { rack: `r${at % 40}`, zone: "abc"[at % 3] },
});
const keys = (store, count) => Array.from({ length: count }, (_, at) => [
  `${store}/${REGIONS[at % 3]}/node-${String(at).padStart(String(count).length, "0")}`, value(at), leases[(at * 7) % leases.length]]);

/** A few keys as they may be. */
const fleet = () => [["fra", 20], ["iad", 30], ["sin", 40]].flatMap(([site, net], at) => [
  ...[1, 2, 3, 4].slice(0, 4 - at).map((n) => [`nodes/${site}/edge-0${n}`, { ip: `10.${net}.1.${n}`, role: "edge", ready: true, version: "1.14.2" }, leases[at]]),
  ...[1, 2].map((n) => [`nodes/${site}/db-0${n}`, { ip: `10.${net}.2.${n}`, role: "database", ready: true, version: "1.14.2" }, leases[at]]),
  ...(site === "iad" ? [[`nodes/iad/gpu-09`, { ip: "10.30.3.9", role: "gpu", ready: false, version: "1.13.8" }, leases[at]]] : []),
]);

before(async () => {
  [etcd, browser] = await Promise.all([Etcd.start(), Browser.start()]);
  leases = await Promise.all(Array.from({ length: 24 }, () => etcd.lease()));
  await etcd.putAll([...keys("ten", 10), ...keys("thousand", 1000), ...keys("many", KEYS), ...fleet()]);
  service = await Service.start(etcd, ["ten", "thousand", "many"]);
  // The service has read all keys before the page is measured.
  await until("the service has read all keys", async () => (await fetch(`${service.url}/readyz`)).ok, 60);
});

after(async () => {
  await browser?.close();
  await service?.close();
  await etcd?.close();
});

test("100,000 keys: first rows within 3 s, the end is reached, the document stays small", async (t) => {
  const began = Date.now();
  const page = await browser.open(`${service.url}/#many`);
  await page.waitForSelector(".body .row");
  const first = Date.now() - began;
  await says(page, /^Fresh/, 120_000);
  t.diagnostic(`first rows after ${first} ms, all keys after ${Date.now() - began} ms, long tasks (ms): ${await page.evaluate(() => window.longTasks.splice(0).join(" "))}`);
  assert.ok(first < 3000, `${first} ms`);
  assert.equal(await page.textContent("#fact-keys"), "100,000");
  await page.focus("#scroller");
  await page.keyboard.press("End");
  await page.waitForFunction(() => [...document.querySelectorAll(".body .name")].some((cell) => cell.textContent === "us-east/node-099998"));
  await page.$eval("#scroller", (scroller) => { scroller.scrollTop = scroller.scrollHeight / 2; });
  await page.waitForFunction(() => [...document.querySelectorAll(".body .name")].some((cell) => cell.textContent.startsWith("eu-west/node-050")));
  assert.ok(await page.evaluate(() => document.querySelectorAll("*").length) < 1500, "rows outside are not in the document");
  await page.fill("#search", "node-0123 edge");
  await page.waitForFunction(() => document.getElementById("count").textContent === "25 of 100,000 keys");
  await finish(page);
});

test("a link to one of 100,000 keys brings it into sight", async () => {
  const page = await browser.open(`${service.url}/#many/eu-west/node-077701`);
  await page.waitForFunction(() => [...document.querySelectorAll(".row.selected .name")].some((cell) => cell.textContent === "eu-west/node-077701"), null, { timeout: 120_000 });
  const [row, grid] = [await page.locator(".row.selected").boundingBox(), await page.locator("#scroller").boundingBox()];
  assert.ok(row.y >= grid.y && row.y + row.height <= grid.y + grid.height);
  await finish(page);
});

test("2,000 changes a second of 100,000 keys: the page answers keys at once", async (t) => {
  const page = await browser.open(`${service.url}/#many`);
  await says(page, /^Fresh/, 120_000);
  await page.evaluate(() => window.longTasks.splice(0));
  const all = keys("many", KEYS);
  let going = true, sent = 0;
  const began = Date.now();
  const writer = (async () => {
    while (going) {
      const part = Array.from({ length: 100 }, () => all[(sent += 7919) % KEYS]).map(([name, old, lease]) => [name, { ...old, version: `2.${sent % 100}.${Date.now() % 100}` }, lease]);
      await etcd.putAll([...new Map(part.map((one) => [one[0], one])).values()]);
      const ahead = began + (sent / 7919) / 2 - Date.now();
      if (ahead > 0) await new Promise((go) => setTimeout(go, ahead));
    }
  })();
  const delays = [];
  for (let press = 0; press < 40; press += 1) {
    const delay = await page.evaluate(() => new Promise((done) => {
      const start = performance.now();
      document.getElementById("scroller").dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
    }));
    delays.push(delay);
    await new Promise((go) => setTimeout(go, 100));
  }
  await page.waitForFunction(() => Number(document.getElementById("fact-changes").textContent.replaceAll(",", "")) > 1000);
  going = false;
  await writer;
  delays.sort((a, b) => a - b);
  const rate = Math.round((sent / 7919) / ((Date.now() - began) / 1000));
  t.diagnostic(`${rate} changes/s; a key press is drawn after ${Math.round(delays[20])} ms (median), ${Math.round(delays[39])} ms (worst); long tasks (ms): ${await page.evaluate(() => window.longTasks.join(" "))}`);
  assert.ok(delays[20] < 150, `${delays[20]} ms`);
  await finish(page);
});

for (const store of ["ten", "thousand", "many"]) {
  for (const scheme of ["light", "dark"]) {
    test(`screenshots of ${store} in ${scheme}`, async () => {
      const page = await browser.open(`${service.url}/#${store}`, { scheme });
      await says(page, /^Fresh/, 120_000);
      const [name, old, lease] = keys(store, 10)[4];
      const path = store === "ten" ? name : name.replace(/\d+$/, (digits) => digits.padStart(store === "many" ? 6 : 4, "0"));
      for (const version of ["1.5.0", "1.6.0"]) await etcd.put(path, { ...old, version }, lease);
      await page.waitForSelector("#changes .change");
      await shot(page, `${store}-${scheme}`);
      await page.goto(`${service.url}/#${path.split("/").map(encodeURIComponent).join("/")}`);
      await page.waitForSelector("#detail .diff");
      await page.keyboard.press("h");
      await page.waitForSelector("#detail .steps");
      await shot(page, `${store}-${scheme}-detail`);
      await page.setViewportSize({ width: 360, height: 740 });
      await page.keyboard.press("Escape");
      await page.waitForSelector("#detail", { state: "hidden" });
      await shot(page, `${store}-${scheme}-phone`);
      await finish(page);
    });
  }
}

test("the picture of the README", async (t) => {
  await etcd.putAll(["services/dns", "services/web", "identities/17"].map((name) => [name, { name }, leases[0]]));
  const service = await Service.start(etcd, ["nodes", "services", "identities"]);
  t.after(() => service.close());
  const page = await browser.open(`${service.url}/#nodes`, { width: 1700, height: 800 });
  await says(page, /^Fresh/);
  const [one, two, three] = leases;
  const put = (name, value, lease) => etcd.put(`nodes/${name}`, value, lease);
  const at = (ip, role, version, ready = true) => ({ ip, role, ready, version });
  await put("fra/edge-04", at("10.20.1.4", "edge", "1.14.2", false), one);
  await etcd.delete("nodes/iad/gpu-09");
  await put("iad/edge-03", at("10.30.1.3", "edge", "1.14.3"), two);
  await put("sin/db-02", at("10.40.2.2", "database", "1.14.3"), three);
  await service.put("nodes/fra/gateway", at("10.20.0.1", "gateway", "1.14.3"));
  await put("fra/edge-04", at("10.20.1.4", "edge", "1.14.3"), one);
  await page.waitForFunction(() => document.querySelectorAll("#changes .change").length >= 6);
  await page.evaluate(() => { location.hash = "#nodes/fra/edge-04"; });
  await page.waitForSelector("#detail .diff .added");
  await page.waitForFunction(() => [...document.querySelectorAll(".body .owner")].some((cell) => cell.textContent === "this process")
    && !document.querySelector(".flash[data-age=hot]"), null, { timeout: 30_000 });
  await page.waitForFunction(() => document.getElementById("owners").textContent.includes("this process"));
  await shot(page, "readme");
  await finish(page);
});
