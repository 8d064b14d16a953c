// The page with a few keys: what it shows, live, by keyboard, and through restarts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Etcd, finish, names, Proxy, row, rows, says, Service, until } from "./world.mjs";

let etcd, service, browser, lease;
const node = (ip, more = {}) => ({ ip, role: "edge", ...more });

before(async () => {
  [etcd, browser] = await Promise.all([Etcd.start(), Browser.start()]);
  lease = await etcd.lease();
  await etcd.put("nodes/alpha", node("10.0.0.1"), lease);
  await etcd.put("nodes/beta", node("10.0.0.2", { id: "BIG" }), lease);
  await etcd.put("nodes/gamma", node("10.0.0.3"));
  await etcd.put("services/web", { port: 80 });
  service = await Service.start(etcd, ["nodes", "services", "zone"], ["zone"]);
  await service.put("nodes/own", node("10.0.0.9"));
});

after(async () => {
  await browser?.close();
  await service?.close();
  await etcd?.close();
});

const open = async (hash = "", options = {}) => {
  const page = await browser.open(`${service.url}/${hash}`, options);
  await says(page, /^Fresh/);
  return page;
};

test("it shows state, numbers, rows, owners and observers", async () => {
  const page = await open();
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  assert.match(await page.textContent("#state-detail"), /^Every change up to revision \d+ is shown\.$/);
  assert.equal(await page.textContent("#fact-keys"), "4");
  assert.equal(await page.textContent("#fact-owners"), "2");
  const alpha = await row(page, "alpha");
  assert.equal(alpha.value, `{ip: "10.0.0.1", role: "edge"}`);
  assert.equal(alpha.owner, BigInt(lease).toString(16).padStart(16, "0"));
  assert.equal((await row(page, "gamma")).owner, "no lease");
  await page.waitForFunction(() => [...document.querySelectorAll(".body .owner")].some((cell) => cell.textContent === "this process"));
  await page.waitForFunction(() => document.querySelectorAll("#owners tr").length === 3);
  await page.waitForFunction(() => document.getElementById("observers").textContent.includes("http"));
  assert.equal(await page.title(), "nodes · shared-store");
  await finish(page);
});

test("a change is shown within a second, flashes, and is told in the timeline", async () => {
  const page = await open();
  await etcd.put("nodes/alpha", node("10.0.0.77"), lease);
  const began = Date.now();
  await page.waitForFunction(() => document.querySelector(".body .row[data-age=hot].flash .value")?.textContent.includes("10.0.0.77"));
  assert.ok(Date.now() - began < 1000, `${Date.now() - began} ms`);
  await page.waitForFunction(() => document.querySelector("#changes .what")?.textContent === "ip: \"10.0.0.1\" → \"10.0.0.77\"");
  await page.waitForFunction(() => /1 updated/.test(document.getElementById("fact-changes-note").textContent));
  await etcd.put("nodes/alpha", node("10.0.0.1"), lease);
  await finish(page);
});

test("a new key comes, a deleted key goes, and both are told", async () => {
  const page = await open();
  await etcd.put("nodes/brand-new", node("10.1.1.1"));
  await rows(page, ["alpha", "beta", "brand-new", "gamma", "own"]);
  await etcd.delete("nodes/brand-new");
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  await page.waitForFunction(() => document.querySelector("#changes .change.deleted .key")?.textContent === "brand-new");
  await finish(page);
});

test("search finds names and values, the owner filter finds keys of a lease", async () => {
  const page = await open();
  await page.fill("#search", "10.0.0.2");
  await rows(page, ["beta"]);
  assert.equal(await page.textContent("#count"), "1 of 4 keys");
  await page.fill("#search", "EDGE gam");
  await rows(page, ["gamma"]);
  await page.fill("#search", "no such text");
  await rows(page, []);
  await page.waitForSelector("#empty:not([hidden])");
  await page.fill("#search", "");
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  await page.selectOption("#owner", `lease ${BigInt(lease).toString(16).padStart(16, "0")}`);
  await rows(page, ["alpha", "beta"]);
  await page.click("#owners tr:has-text('no lease')");
  await rows(page, ["gamma"]);
  await page.selectOption("#owner", "none");
  await rows(page, ["gamma"]);
  // A key that comes to fit the filter comes, one that does not fit stays away.
  await etcd.put("nodes/free", node("10.0.0.5"));
  await etcd.put("nodes/leased", node("10.0.0.6"), lease);
  await rows(page, ["free", "gamma"]);
  await page.keyboard.press("Escape");
  await rows(page, ["alpha", "beta", "free", "gamma", "leased", "own"]);
  await etcd.delete("nodes/free");
  await etcd.delete("nodes/leased");
  await finish(page);
});

test("the keyboard reaches everything", async () => {
  const page = await open();
  const selected = () => page.$eval(".row.selected .name", (cell) => cell.textContent);
  await page.keyboard.press("j");
  assert.equal(await selected(), "alpha");
  await page.keyboard.press("ArrowDown");
  assert.equal(await selected(), "beta");
  assert.equal(await page.$eval("#scroller", (grid) => document.getElementById(grid.getAttribute("aria-activedescendant")).querySelector(".name").textContent), "beta");
  await page.keyboard.press("k");
  await page.keyboard.press("End");
  assert.equal(await selected(), "own");
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#detail:not([hidden]) .key-name");
  assert.equal(new URL(page.url()).hash, "#nodes/alpha");
  await page.keyboard.press("j");
  await page.waitForFunction(() => location.hash === "#nodes/beta" && document.querySelector(".key-name").textContent === "beta");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#detail", { state: "hidden" });
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "search");
  await page.keyboard.type("own?");
  await page.keyboard.press("Escape");
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  await page.keyboard.press("?");
  await page.waitForSelector("#help[open]");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#help:not([open])", { state: "attached" });
  await page.keyboard.press("r");
  await page.waitForSelector("[data-order=revision][aria-sort=descending]");
  assert.equal((await names(page))[3], "alpha" === (await names(page))[0] ? "beta" : (await names(page))[3]);
  await page.keyboard.press("]");
  await rows(page, ["web"]);
  assert.equal(new URL(page.url()).hash, "#services");
  await finish(page);
});

test("a key has a link, its last change is a difference, and its history comes from etcd", async () => {
  const page = await open("#nodes/beta");
  await page.waitForSelector("#detail .value-box");
  assert.match(await page.textContent("#detail .pairs"), /Another process/);
  await etcd.put("nodes/beta", `{"ip":"10.0.0.2","role":"core","id":9007199254740993}`, lease);
  await page.waitForSelector("#detail .diff .removed");
  const signs = await page.$$eval("#detail .diff .line.removed, #detail .diff .line.added", (lines) => lines.map((line) => line.textContent.trim()));
  assert.deepEqual(signs.map((text) => text.replace(/\s+/g, " ")).sort(), ["+ \"id\": 9007199254740993", "+ \"role\": \"core\",", "- \"id\": \"BIG\"", "- \"role\": \"edge\","]);
  assert.match(await page.textContent("#detail .value-box"), /9007199254740993/, "integers above 2^53 are shown as they are");
  await page.keyboard.press("h");
  await page.waitForFunction(() => document.querySelectorAll("#detail .steps li").length >= 2);
  assert.match(await page.textContent("#detail .steps li:first-child"), /Modified at revision/);
  assert.match(await page.textContent("#detail .steps li:last-child"), /Created at revision/);
  await etcd.delete("nodes/beta");
  await page.waitForFunction(() => /^Deleted/.test(document.querySelector("#detail .notice").textContent));
  await etcd.put("nodes/beta", node("10.0.0.2"), lease);
  await page.waitForFunction(() => document.querySelector("#detail .notice").textContent === "");
  await finish(page);
});

test("a key whose name has dots as in a path is a key as any other", async () => {
  await etcd.put("nodes/a/../b", node("10.3.0.1"));
  const page = await open("#nodes/a/../b");
  await page.waitForSelector("#detail .value-box");
  assert.match(await page.textContent("#detail .key-name"), /^a\/\.\.\/b$/);
  await page.keyboard.press("h");
  await page.waitForSelector("#detail .steps li");
  assert.match(await page.textContent("#detail .steps li"), /10\.3\.0\.1/);
  await etcd.delete("nodes/a/../b");
  await finish(page);
});

test("names and values that look like HTML stay text, and hide nothing", async () => {
  const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  await etcd.put(`nodes/${evil}`, { text: evil, "<b>": "\u202eabc" });
  const page = await open();
  await page.waitForFunction(() => document.querySelectorAll(".body .row").length === 5);
  assert.ok((await names(page)).includes(evil));
  await etcd.put(`nodes/${evil}`, { text: evil, "<b>": "\u202edef" });
  await page.waitForFunction(() => document.querySelectorAll("#changes .change").length > 0);
  await page.click(`.body .row .name:has-text("<img")`);
  await page.waitForSelector("#detail .diff .added");
  assert.match(await page.textContent("#detail .value-box"), /\\u202edef/);
  await page.keyboard.press("h");
  await page.waitForSelector("#detail .steps li");
  assert.equal(await page.evaluate(() => document.querySelectorAll("img, body script, .row b, .detail b").length), 0);
  await page.reload();
  await page.waitForSelector("#detail .key-name");
  assert.equal(await page.textContent("#detail .key-name"), evil);
  await etcd.delete(`nodes/${evil}`);
  await finish(page);
});

test("a restart of the service is told, and the new state is shown", async () => {
  const page = await open();
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  await service.stop();
  await says(page, /^No connection to the service for .*The table shows the state of/);
  assert.ok(await page.$eval("body", (body) => body.classList.contains("outdated")));
  assert.ok((await names(page)).includes("alpha"), "the last table is kept");
  await etcd.delete("nodes/gamma");
  await etcd.put("nodes/delta", node("10.0.0.4"));
  await service.run();
  await says(page, /^Fresh/);
  // The service has left: its own key is gone.
  await rows(page, ["alpha", "beta", "delta"]);
  await page.waitForFunction(() => [...document.querySelectorAll("#changes .deleted .key")].some((key) => key.textContent === "gamma"));
  await etcd.delete("nodes/delta");
  await etcd.put("nodes/gamma", node("10.0.0.3"));
  await service.put("nodes/own", node("10.0.0.9"));
  await rows(page, ["alpha", "beta", "gamma", "own"]);
  await finish(page);
});

test("after a break of the connection the stream goes on where it was", async (t) => {
  const proxy = await Proxy.start(service);
  t.after(() => proxy.close());
  const page = await browser.open(proxy.url);
  await says(page, /^Fresh/);
  await etcd.put("nodes/mark", node("10.0.1.1"));
  await page.waitForFunction(() => document.querySelector("#changes .key")?.textContent === "mark");
  proxy.cut();
  await says(page, /^No connection to the service/);
  await etcd.put("nodes/mark", node("10.0.1.2"));
  await etcd.put("nodes/mark", node("10.0.1.3"));
  const again = page.waitForRequest((request) => /changes\?after=\d+&run=\w+/.test(request.url()) && proxy.open);
  proxy.open = true;
  await again;
  await says(page, /^Fresh/);
  // Both steps are told, which only a stream that is resumed can do.
  await page.waitForFunction(() => [...document.querySelectorAll("#changes .what")].slice(0, 2).map((what) => what.textContent).join()
    === "ip: \"10.0.1.2\" → \"10.0.1.3\",ip: \"10.0.1.1\" → \"10.0.1.2\"");
  await etcd.delete("nodes/mark");
  await finish(page);
});

test("a connection that stands still is noticed", async (t) => {
  const proxy = await Proxy.start(service);
  t.after(() => proxy.close());
  const page = await browser.open(proxy.url);
  await says(page, /^Fresh/);
  await page.clock.install();
  await page.reload();
  await says(page, /^Fresh/);
  proxy.still = true;
  await page.clock.fastForward(41_000);
  await says(page, /^No connection to the service for .* silent for 40 s/);
  proxy.still = false;
  proxy.cut();
  proxy.open = true;
  await page.clock.fastForward(20_000);
  await says(page, /^Fresh/);
  await finish(page);
});

test("an etcd that is away is told with its cause, and the page is fresh again when it is back", async () => {
  const page = await open();
  await etcd.kill();
  await says(page, /^Stale for .*\. .{10,}The keys are as they were at \d\d:\d\d:\d\d\./);
  assert.match(await page.title(), /^Stale · nodes/);
  assert.match(await page.textContent("#announce"), /^nodes: Stale/);
  assert.ok((await names(page)).includes("alpha"));
  await etcd.run();
  await says(page, /^Fresh/, 60_000);
  await etcd.put("nodes/after", node("10.0.0.8"));
  await page.waitForFunction(() => [...document.querySelectorAll(".body .name")].some((cell) => cell.textContent === "after"));
  await etcd.delete("nodes/after");
  await finish(page);
});

test("a store that publishes says that it has no table", async () => {
  const page = await open("#zone");
  await page.waitForFunction(() => document.getElementById("empty").textContent === "This store publishes: it caches no keys.");
  assert.match(await page.textContent("#state-detail"), /It caches no keys of others\.$/);
  assert.match(await page.textContent("#store"), /publish/);
  await finish(page);
});

test("colours follow the system or the choice, and the page fits 360 to 2560 pixels", async () => {
  const ground = (page) => page.$eval("body", (body) => getComputedStyle(body).backgroundColor);
  const dark = await open("", { scheme: "dark", width: 360, height: 740 });
  const light = await open("", { width: 2560, height: 1300 });
  for (const page of [dark, light]) {
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is cut off");
  }
  const [black, white] = [await ground(dark), await ground(light)];
  assert.notEqual(black, white);
  await light.keyboard.press("t");
  await light.keyboard.press("t");
  assert.equal(await ground(light), black);
  await light.reload();
  assert.equal(await ground(light), black, "the choice is remembered");
  await finish(dark);
  await finish(light);
});

test("with less motion wanted nothing flashes, and changed rows are still marked", async () => {
  const page = await open("", { reducedMotion: "reduce" });
  await etcd.put("nodes/alpha", node("10.0.0.78"), lease);
  await page.waitForSelector(".body .row[data-age=hot]");
  assert.equal(await page.$eval(".body .row[data-age=hot]", (row) => row.getAnimations().length), 0);
  await etcd.put("nodes/alpha", node("10.0.0.1"), lease);
  await finish(page);
});

test("no colour of text has too little contrast", async () => {
  for (const scheme of ["light", "dark"]) {
    const page = await open("#nodes/alpha", { scheme });
    await until("the detail is drawn", async () => (await page.$("#detail .value-box")) !== null);
    const weak = await page.evaluate(() => {
      const parse = (text) => text.match(/[\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
      const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
          const colour = parse(getComputedStyle(at).backgroundColor);
          if (colour.length < 4 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
      };
      const found = [];
      for (const node of document.querySelectorAll("body *")) {
        const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!text || !node.checkVisibility() || node.closest(".unseen")) continue;
        const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`${node.className} ${node.textContent.slice(0, 30)} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
      }
      return found;
    });
    assert.deepEqual(weak, []);
    await finish(page);
  }
});
