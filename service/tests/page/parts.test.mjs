// The parts of the page that draw nothing, in the browser that runs them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Etcd, Service } from "./world.mjs";

let etcd, service, browser, page;

before(async () => {
  [etcd, browser] = await Promise.all([Etcd.start(), Browser.start()]);
  service = await Service.start(etcd);
  page = await browser.open(service.url);
});

after(async () => {
  await browser?.close();
  await service?.close();
  await etcd?.close();
});

test("the model keeps every order under random changes", async () => {
  const rounds = await page.evaluate(async () => {
    const { Model } = await import("/page/model.js");
    let seed = 1;
    const random = (below) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return (seed >>> 8) % below;
    };
    const orders = { name: (a, b) => (a.name < b.name ? -1 : 1), "-name": (a, b) => (a.name < b.name ? 1 : -1), revision: (a, b) => a.revision - b.revision, "-revision": (a, b) => b.revision - a.revision };
    for (let round = 0; round < 100; round += 1) {
      const model = new Model(() => {});
      const truth = new Map();
      let revision = 1;
      model.opened(false);
      model.synced(1, 0);
      for (let step = 0; step < 100; step += 1) {
        for (let left = random(20) === 0 ? 300 : random(5); left > 0; left -= 1) {
          const told = { name: `k${random(60)}`, text: String(random(3)), old: null, revision: revision += 1, encoding: "json", lease: random(2) ? "a" : null, origin: "", reason: "", initial: false };
          if (random(3)) {
            truth.set(told.name, told);
            model.update(told, 1000);
          } else {
            truth.delete(told.name);
            model.remove(told, 1000);
          }
        }
        if (random(10) === 0) model.show({ order: Object.keys(orders)[random(4)], search: random(2) ? "1" : "", owner: random(2) ? "a" : undefined });
        model.flush();
        const all = [...truth.keys()].sort().join();
        if (model.all.list.map((entry) => entry.name).join() !== all) throw new Error(`all, round ${round}, step ${step}`);
        const view = [...truth.values()].filter((told) => (model.owner === undefined || told.lease === model.owner) && (!model.words.length || told.text === "1" || told.name.includes("1"))).sort(orders[model.order]);
        if (model.view.list.map((entry) => entry.name).join() !== view.map((told) => told.name).join()) throw new Error(`view, round ${round}, step ${step}`);
        const owned = [...truth.values()].filter((told) => told.lease === "a").length;
        if ((model.leases.get("a") ?? 0) !== owned) throw new Error(`owners, round ${round}, step ${step}`);
      }
    }
    return 100;
  });
  assert.equal(rounds, 100);
});

test("all keys again: unchanged ones stay, changed ones are told with the old value, missing ones go", async () => {
  const log = await page.evaluate(async () => {
    const { Model } = await import("/page/model.js");
    const model = new Model(() => {});
    const told = (name, text, revision) => ({ name, text, old: null, revision, encoding: "json", lease: null, origin: "", reason: "first_state", initial: true });
    model.opened(false);
    for (const name of ["a", "b", "c"]) model.update(told(name, "1", 2), 1000);
    model.synced(4, 1000);
    const first = model.log.length;
    model.opened(false);
    model.update(told("a", "1", 2), 2000);
    model.update(told("b", "2", 6), 2000);
    model.update(told("d", "3", 7), 2000);
    const kept = model.entries.size;
    model.synced(7, 2000);
    return { first, kept, now: [...model.entries.keys()].sort(), log: model.log.map((one) => [one.kind, one.name, one.old, one.text]) };
  });
  assert.deepEqual(log, {
    first: 0, kept: 4, now: ["a", "b", "d"],
    log: [["deleted", "c", "1", "1"], ["created", "d", null, "3"], ["updated", "b", "1", "2"]],
  });
});

test("JSON is cut and printed without changing a token", async () => {
  const found = await page.evaluate(async () => {
    const { elements, members, pretty } = await import("/page/json.js");
    const text = `{ "a": 9007199254740993, "b\\"": "x,}\\\\", "c":[1, {"d":[]} ,"]"],"e":{},"f":null, "10":1.50}`;
    return { members: [...members(text)], elements: elements("[1, \"a,b\", {\"x\":[2]},[] ]"), none: members("[1]"), same: JSON.stringify(JSON.parse(pretty(text))) === JSON.stringify(JSON.parse(text)), pretty: pretty(`{"a":[1,{}],"b":"{ "}`) };
  });
  assert.deepEqual(found, {
    members: [["a", "9007199254740993"], ["b\"", "\"x,}\\\\\""], ["c", "[1, {\"d\":[]} ,\"]\"]"], ["e", "{}"], ["f", "null"], ["10", "1.50"]],
    elements: ["1", "\"a,b\"", "{\"x\":[2]}", "[]"], none: null, same: true, pretty: "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"{ \"\n}",
  });
});

test("a stream is cut into events wherever its bytes are cut", async () => {
  const found = await page.evaluate(async () => {
    const { Stream } = await import("/page/stream.js");
    const bytes = new TextEncoder().encode("event: opened\ndata: {\"run\":\"r\",\"resumed\":false}\n\n: comment\n\nevent: update\r\ndata: é1\r\n\r\nid: 7\n\nevent: update\ndata: a\ndata: b\nid: 9\n\nevent: update\ndata: cut");
    const real = window.fetch;
    const runs = [];
    for (const size of [1, 2, 3, 7, 1000]) {
      const told = [];
      window.fetch = async () => new Response(new ReadableStream({
        start(controller) {
          for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
          controller.close();
        },
      }));
      await new Promise((done) => {
        const stream = new Stream("/x", (event, data) => told.push(`${event} ${data}`), (phase) => {
          if (phase !== "waiting") return;
          told.push(stream.last);
          stream.stop();
          done();
        });
      });
      runs.push(told.join("|"));
    }
    window.fetch = real;
    return [...new Set(runs)];
  });
  assert.deepEqual(found, ["opened {\"run\":\"r\",\"resumed\":false}|update é1|update a\nb|9"]);
});

test("a difference is the smallest one", async () => {
  const found = await page.evaluate(async () => {
    const { lines } = await import("/page/diff.js");
    const show = (a, b) => lines([...a], [...b]).map(([sign, line]) => sign + line).join("");
    return [show("abc", "abc"), show("abcd", "abxd"), show("", "ab"), show("ab", ""), show("abcabba", "cbabac").match(/ /g).length];
  });
  assert.deepEqual(found, [" a b c", " a b-c+x d", "+a+b", "-a-b", 4]);
});

test("what needs attention is told in sentences, and nothing else is", async () => {
  const found = await page.evaluate(async () => {
    const { concerns } = await import("/page/side.js");
    const calm = { observers: [{ id: 1, name: "routes", pending: 4, behind_seconds: 2, panics: 0 }], set_aside: [], pending_writes: 2, repairs: 9, undecodable: 0 };
    return [concerns(calm), concerns({ ...calm, set_aside: [{ name: "big", cause: "too large" }], undecodable: 1, held_back: 2, pending_cause: "no leader",
      observers: [{ id: 1, name: null, pending: 1, behind_seconds: 61, panics: 0 }] })];
  });
  assert.deepEqual(found, [[], [
    "big is set aside, the kvstore refuses it. Too large.",
    "2 writes wait. No leader.",
    "2 deletions are held back: much was deleted at once, and the owners have time to put it back.",
    "1 key has a value that cannot be decoded; the last good value is shown, if there was one.",
    "Observer number 1 is 61 s behind, with 1 change pending.",
  ]]);
});

test("a minute of which not all is known is not told as a number", async () => {
  const found = await page.evaluate(async () => {
    const { Model } = await import("/page/model.js");
    const model = new Model(() => {});
    const at = 1_000_000_000_000;
    model.history([9, 5].map((ago) => `{"type":"update","name":"a","value":1,"old":2,"revision":${20 - ago},"at":"${new Date(at - ago * 1000).toISOString()}"}`).reverse(), false, 0);
    return [model.within(60, at), model.within(5, at).all];
  });
  assert.deepEqual(found, [{ created: 0, updated: 2, deleted: 0, all: false }, true]);
});

test("freshness is told in words", async () => {
  const found = await page.evaluate(async () => {
    const { freshness, span } = await import("/page/words.js");
    const open = { phase: "open", cause: "", since: 0, retryAt: 0, loaded: 0 };
    const table = { revision: 1234, keys: 3, complete: true };
    const say = (link, store, more = {}) => {
      const { kind, title, detail } = freshness({ ...open, ...link }, { cause: null, staleSince: 0, ...store }, { ...table, ...more }, 100_000);
      return `${kind}: ${title}. ${detail.replace(/(1 Jan, )?\d\d:\d\d:\d\d/g, "TIME")}`;
    };
    return [
      say({}, { state: "synced" }), say({}, { state: "stale", cause: "no route", staleSince: 10_000 }), say({}, { state: "connecting" }),
      say({}, { state: "listing", seen: 5 }), say({}, { state: "closed", cause: "told to" }), say({}, { state: "synced" }, { complete: false }),
      say({ phase: "waiting", cause: "The service does not answer", since: 40_000, retryAt: 103_500 }, { state: "synced" }),
      span(0.5), span(59), span(3600), span(90_000),
    ];
  });
  assert.deepEqual(found, [
    "fresh: Fresh. Every change up to revision 1,234 is shown.",
    "stale: Stale for 1 min. No route. The keys are as they were at TIME.",
    "wait: Connecting to etcd. The service has not reached etcd yet.",
    "wait: Listing. The service is reading all keys from etcd, 5 keys so far.",
    "lost: Closed. Told to.",
    "wait: Loading. 3 keys so far.",
    "lost: No connection to the service for 60 s. The service does not answer. The table shows the state of TIME. Next attempt in 4 s.",
    "less than a second", "59 s", "60 min", "25 h",
  ]);
});
