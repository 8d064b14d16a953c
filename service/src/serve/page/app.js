// The page: one store at a time, from the stream to the document.

import { Detail } from "./detail.js";
import { change, elements, members } from "./json.js";
import { keyboard } from "./keyboard.js";
import { Model } from "./model.js";
import { biggest, concerns, drawConcerns, drawFacts, drawOwners, drawStore, find, onOwner, Timeline, write } from "./side.js";
import { reason, Stream } from "./stream.js";
import { Table } from "./table.js";
import { freshness, number, plural, sentence, visible } from "./words.js";

const POLL = 2_000, OWNERS_EVERY = 10_000, STRANGERS_AFTER = 3_000, ANSWER = 8_000;
const SLOW = 300; // milliseconds between drawings of what is read, not watched
const MOST_OPTIONS = 200, PAST = 500;

const page = {
  /** @type {string | null} */ store: null,
  /** @type {Model | null} */ model: null,
  /** @type {Stream | null} */ stream: null,
  /** @type {Map<string, any>} */ statuses: new Map(),
  owners: new Map(),
  link: { phase: "opening", cause: "", since: 0, retryAt: 0, loaded: 0 },
  state: { state: "connecting", cause: null, seen: null, publishes: false, staleSince: 0 },
  publishes: false,
  order: "name",
  owner: /** @type {string | null | undefined} */ (undefined),
};
let scheduled = false, resume = 0, lastSide = 0, announced = "";

/** An owner in words. */
function owner(lease) {
  if (lease === null) return { short: "no lease", long: "Nobody: a key without lease stays until it is deleted", ttl: null };
  const known = page.owners.get(lease);
  const ttl = known?.ttl ?? null;
  if (known?.own || page.model?.local.has(lease)) return { short: "this process", long: "The process that serves this page", ttl };
  return { short: lease, long: "Another process", ttl };
}

const table = new Table({ scroller: find("scroller"), body: find("body") }, { open: (name) => visit(name), select: () => follow(), owner });
const showKeys = (lease) => {
  filter({ owner: lease });
  tab("keys");
};
const detail = new Detail(find("detail"), { close: () => visit(null), owner, filter: showKeys });
onOwner(showKeys);
const timeline = new Timeline((name) => visit(name));

// ---- Addresses: #store/key

function address(store, name) {
  const key = name === null ? "" : `/${name.split("/").map(encodeURIComponent).join("/")}`;
  return `#${encodeURIComponent(store)}${key}`;
}

function here() {
  const text = location.hash.slice(1);
  const cut = text.indexOf("/");
  try {
    return cut < 0 ? { store: decodeURIComponent(text), name: null }
      : { store: decodeURIComponent(text.slice(0, cut)), name: decodeURIComponent(text.slice(cut + 1)) };
  } catch {
    return { store: "", name: null };
  }
}

/** Opens a key, or none. */
function visit(name) {
  if (page.store !== null) location.hash = address(page.store, name);
  if (name === null) find("scroller").focus();
}

/** An open detail follows the selection. */
function follow() {
  if (detail.name === null || table.selected === null || page.store === null || table.selected === detail.name) return;
  history.replaceState(null, "", address(page.store, table.selected));
  route();
}

function route() {
  let { store, name } = here();
  if (!page.statuses.has(store)) {
    const [first] = page.statuses.keys();
    if (first === undefined) return;
    if (store) remark = `There is no store named ${visible(store)}. This is ${visible(first)}.`;
    [store, name] = [first, store ? null : name];
  }
  if (store !== page.store) enter(store);
  if (name === null) detail.close();
  else detail.open(store, name, page.model);
  document.body.classList.toggle("with-detail", name !== null);
  table.open = name;
  if (name !== null && table.selected !== name) table.seek(name);
  table.draw();
}
let remark = "";

// ---- One store

function enter(store) {
  page.stream?.stop();
  page.store = store;
  page.owners = new Map();
  page.owner = undefined;
  page.publishes = page.statuses.get(store)?.mode === "publish"; // such a store has no table
  find("search").value = "";
  const model = new Model(schedule);
  page.model = model;
  page.link = { phase: "opening", cause: "", since: Date.now(), retryAt: 0, loaded: 0 };
  page.state = { state: "connecting", cause: null, seen: null, publishes: false, staleSince: 0 };
  take(page.statuses.get(store));
  table.selected = null;
  find("scroller").scrollTop = 0;
  find("owner").replaceChildren();
  model.show({ order: page.order, search: "", owner: undefined });
  const base = `/v1/stores/${encodeURIComponent(store)}`;
  page.stream = page.publishes ? null : new Stream(`${base}/changes`, (event, data) => hear(model, event, data), (phase, cause, retryAt) => {
    const { link } = page;
    if (phase === "open") Object.assign(link, { phase, cause: "", retryAt: 0 });
    else {
      if (link.phase === "open") Object.assign(link, { since: Date.now(), loaded: Date.now() });
      Object.assign(link, { phase, retryAt, cause: cause || link.cause });
    }
    drawStores();
    schedule();
  });
  drawStores();
  if (!page.publishes) learnOwners(model);
  schedule();
}

/** An event of the stream. */
function hear(model, event, data) {
  const now = Date.now();
  if (event === "update") model.update(change(data), now);
  else if (event === "delete") model.remove(change(data), now);
  else if (event === "opened") model.opened(JSON.parse(data).resumed);
  else if (event === "synced") {
    const first = !model.complete;
    model.synced(JSON.parse(data).revision, now);
    if (!first) return schedule();
    learnPast(model);
    if (table.open !== null) requestAnimationFrame(() => table.seek(table.open));
  } else if (event === "status") take(JSON.parse(data));
  else if (event === "resynced") {
    const { from, to, all } = JSON.parse(data);
    if (!all) model.remark("Steps left out", `The service has not seen each step between revisions ${from} and ${to}; the difference follows.`, now);
  } else if (event === "end") return;
  else {
    const { name, cause, ...rest } = JSON.parse(data);
    const said = { undecodable: "Value cannot be decoded", healed: "Value can be decoded again", conflict: "Another process owns the key", repaired: "Own key was repaired", set_aside: cause ? "Set aside" : "No longer set aside" };
    model.remark(`${said[event] ?? visible(event)}: ${visible(String(name ?? ""))}`, [sentence(cause), visible(Object.entries(rest).filter(([, value]) => value !== null).map(([key, value]) => `${key} ${value}`).join(", "))].join(" ").trim(), now);
  }
  schedule();
}

/** The state of the store, from the stream or from a poll. */
function take(status) {
  if (!status) return;
  const { state, cause, stale_seconds: stale } = status;
  const since = state === "stale" && stale != null ? Date.now() - stale * 1000 : 0;
  const same = page.state.state === state && Math.abs(page.state.staleSince - since) < 2000;
  page.state = { state, cause, seen: status.seen, publishes: page.publishes, staleSince: same ? page.state.staleSince : since };
}

async function get(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return { text: await response.text(), offset: Date.now() - (Date.parse(response.headers.get("date") ?? "") || Date.now()) };
}

async function learnPast(model) {
  try {
    const { text, offset } = await get(`/v1/stores/${encodeURIComponent(page.store)}/recent?limit=${PAST}`);
    const skew = Math.abs(offset) < 2000 ? 0 : offset;
    if (model === page.model) {
      const past = elements(members(text)?.get("changes"));
      model.history(past, past.length < PAST, skew);
    }
  } catch { /* the timeline begins now */ }
}

async function learnOwners(model) {
  if (document.hidden && page.owners.size) return;
  ownersAsked = Date.now();
  try {
    const { text } = await get(`/v1/stores/${encodeURIComponent(page.store)}/owners`);
    if (model !== page.model) return;
    page.owners = new Map(JSON.parse(text).owners.map((one) => [one.lease, one]));
    schedule();
  } catch { /* the leases are shown without their time to live */ }
}

let failed = false;
async function poll() {
  try {
    const { stores } = JSON.parse((await get("/v1/stores")).text);
    page.statuses = new Map(stores.map((status) => [status.name, status]));
    const status = page.statuses.get(page.store);
    if (status && (page.link.phase === "open" || page.publishes)) take(status);
    if (!status || here().store !== page.store) route();
    drawStores();
    // The service is back: no need to wait any longer.
    if (failed) page.stream?.hurry();
    failed = false;
    if (!stores.length) write(find("state-title"), "The service has no stores");
  } catch (error) {
    failed = true;
    if (page.store === null) {
      write(find("state-title"), "No connection to the service");
      write(find("state-detail"), `${reason(error)}. Trying again.`);
      find("state").dataset.kind = "lost";
    }
  }
  schedule();
}

// ---- Drawing

function schedule() {
  if (scheduled) return;
  scheduled = true;
  // Drawing takes at most a quarter of the time, whatever comes in.
  const wait = document.hidden ? 1000 : resume - performance.now();
  if (wait > 16) setTimeout(() => requestAnimationFrame(draw), wait);
  else requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const { model } = page;
  if (!model) return;
  const began = performance.now();
  const touched = model.flush();
  if (!document.hidden) table.show(model.view.list, touched);
  detail.refresh();
  const now = Date.now();
  if (now - lastSide > SLOW) drawSlow(now);
  else if (!drawSlow.timer) drawSlow.timer = setTimeout(() => drawSlow(Date.now()), SLOW);
  resume = performance.now() + 3 * (performance.now() - began);
}
drawSlow.timer = 0;

/** What nobody reads sixty times a second. */
function drawSlow(now) {
  clearTimeout(drawSlow.timer);
  drawSlow.timer = 0;
  lastSide = now;
  const { model } = page;
  if (!model) return;
  const status = page.statuses.get(page.store);
  drawState(model, now);
  drawFacts(model, status, owner, now);
  if (status) {
    drawStore(status);
    drawConcerns([...(remark ? [remark] : []), ...concerns(status)]);
  }
  drawCount(model);
  // One part at a time, so that no frame is long.
  turn += 1;
  if (turn % 2) timeline.draw(model, now);
  else {
    drawOwners(model, page.owners, owner);
    drawOwnerChoice(model);
    const strangers = biggest(model.leases, 20).top.some(([lease]) => lease !== null && !page.owners.has(lease));
    if (strangers && now - ownersAsked > STRANGERS_AFTER) learnOwners(model);
  }
}
let turn = 0, ownersAsked = 0;

function drawState(model, now) {
  const said = freshness(page.link, page.state, { revision: model.revision, keys: model.entries.size, complete: model.complete && !model.refilling }, now);
  const box = find("state");
  if (box.dataset.kind !== said.kind) box.dataset.kind = said.kind;
  document.body.classList.toggle("outdated", said.kind === "stale" || said.kind === "lost");
  write(find("state-title"), said.title);
  write(find("state-detail"), said.detail);
  find("retry").hidden = page.link.phase !== "waiting";
  const spoken = `${page.store}: ${said.title.replace(/ for .*/, "")}`;
  if (spoken !== announced) {
    announced = spoken;
    write(find("announce"), `${page.store}: ${said.announce}`);
    document.title = `${said.kind === "fresh" ? "" : `${said.title.replace(/ for .*/, "")} · `}${page.store} · shared-store`;
  }
}

const STATES = { synced: "fresh", stale: "stale", closed: "closed", connecting: "connecting", listing: "listing" };
function drawStores() {
  const nav = find("stores");
  const names = [...page.statuses.keys()];
  if (nav.children.length !== names.length || names.some((name, at) => nav.children[at].store !== name)) {
    nav.replaceChildren(...names.map((name) => {
      const link = document.createElement("a");
      link.store = name;
      link.href = address(name, null);
      link.append(document.createElement("b"), document.createElement("span"));
      return link;
    }));
  }
  names.forEach((name, at) => {
    const link = nav.children[at], { state } = page.statuses.get(name);
    write(link.children[0], visible(name));
    write(link.children[1], page.link.cause ? "unknown" : STATES[state] ?? state);
    link.dataset.state = state;
    if (name !== page.store) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
}

const coded = (lease) => (lease === undefined ? "all" : lease === null ? "none" : `lease ${lease}`);
function drawOwnerChoice(model) {
  const select = find("owner");
  if (document.activeElement === select && select.options.length) return;
  const { top, others } = biggest(model.leases, MOST_OPTIONS);
  const choices = [[undefined, `All owners (${number(model.leases.size)})`], ...top.map(([lease, keys]) => [lease, `${owner(lease).short} · ${plural(keys, "key")}`])];
  if (page.owner !== undefined && !top.some(([lease]) => lease === page.owner)) choices.push([page.owner, `${owner(page.owner).short} · ${plural(model.leases.get(page.owner) ?? 0, "key")}`]);
  while (select.options.length > choices.length) select.options[select.options.length - 1].remove();
  while (select.options.length < choices.length) select.append(document.createElement("option"));
  choices.forEach(([lease, text], at) => {
    const option = select.options[at];
    option.lease = lease;
    if (option.value !== coded(lease)) option.value = coded(lease);
    write(option, text);
  });
  select.title = others ? `The ${MOST_OPTIONS} owners with the most keys` : "";
  if (select.value !== coded(page.owner)) select.value = coded(page.owner);
}

function drawCount(model) {
  const shown = model.view.list.length, all = model.entries.size;
  write(find("count"), shown === all ? plural(all, "key") : `${number(shown)} of ${plural(all, "key")}`);
  const empty = find("empty");
  empty.hidden = shown > 0;
  if (shown) return;
  write(empty, all ? "No key fits the search. Esc clears it." : page.publishes ? "This store publishes: it caches no keys." : model.complete ? "The store has no keys." : "No keys yet.");
}

// ---- Choices

/** Shows the keys of an owner, in an order, that a search finds. */
function filter({ owner: lease = page.owner, order = page.order, all = false }) {
  if (!page.model) return;
  page.owner = all ? undefined : lease;
  page.order = order;
  if (all) find("search").value = "";
  page.model.show({ order, search: find("search").value, owner: page.owner });
  for (const head of document.querySelectorAll("[data-order]")) {
    const by = head.dataset.order;
    if (by === order) head.setAttribute("aria-sort", "ascending");
    else if (`-${by}` === order) head.setAttribute("aria-sort", "descending");
    else head.removeAttribute("aria-sort");
  }
  table.scrollTo(0);
  table.show(page.model.view.list);
  drawOwnerChoice(page.model);
  drawCount(page.model);
}

function tab(name) {
  find("work").dataset.tab = name;
  find("tab-keys").setAttribute("aria-pressed", String(name === "keys"));
  find("tab-side").setAttribute("aria-pressed", String(name === "side"));
  table.measure();
}

function nextTheme() {
  const root = document.documentElement;
  const next = { light: "dark", dark: "system" }[root.dataset.theme] ?? "light";
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* it is not remembered */ }
  showTheme();
}
const showTheme = () => write(find("theme-name"), document.documentElement.dataset.theme ?? "system");

function step(by) {
  const names = [...page.statuses.keys()];
  const next = names[(names.indexOf(page.store) + by + names.length) % names.length];
  if (next !== undefined) location.hash = address(next, null);
}

let typing = 0;
find("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => filter({}), 80);
});
find("owner").addEventListener("change", (event) => {
  filter({ owner: event.target.selectedOptions[0].lease, all: event.target.value === "all" && !find("search").value });
  find("scroller").focus();
});
for (const head of document.querySelectorAll("[data-order]")) {
  head.querySelector("button").addEventListener("click", () => {
    const by = head.dataset.order, first = by === "revision" ? "-revision" : by;
    filter({ order: page.order === first ? (first === by ? `-${by}` : by) : first });
  });
}
find("retry").addEventListener("click", () => page.stream?.hurry());
find("theme").addEventListener("click", nextTheme);
find("tab-keys").addEventListener("click", () => tab("keys"));
find("tab-side").addEventListener("click", () => tab("side"));
find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("scroller").focus();
});
addEventListener("hashchange", () => {
  remark = "";
  route();
});
addEventListener("online", () => page.stream?.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    page.stream?.hurry();
    schedule();
  }
});
keyboard({ table, detail, filter, visit, nextTheme, step, page });

showTheme();
filter({});
poll();
setInterval(poll, POLL);
setInterval(() => {
  if (page.model && !page.publishes) learnOwners(page.model);
}, OWNERS_EVERY);
setInterval(() => {
  if (document.hidden) return;
  table.tick();
  detail.tick();
  schedule();
}, 1000);
