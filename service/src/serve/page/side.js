// What stands beside the table: changes, owners, observers, facts of the store, and what needs attention.

import { summary } from "./diff.js";
import { SPAN } from "./model.js";
import { element } from "./table.js";
import { age, bytes, number, plural, sentence, span, time, visible } from "./words.js";

const SHOWN = 50; // changes in the document
const MOST_OWNERS = 50;
const BARS = 60, STEP = SPAN / BARS;
const SIGNS = { created: "+", updated: "~", deleted: "−", remark: "!" };
const KINDS = { created: "Created", updated: "Updated", deleted: "Deleted", remark: "Note" };
const svg = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
export const find = (id) => /** @type {any} */ (document.getElementById(id));

/** Writes a text only if it is another one, so that nothing is drawn or announced in vain. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The list of changes and the bars of the last minutes. */
export class Timeline {
  /** @param {(name: string) => void} open */
  constructor(open) {
    this.list = find("changes");
    this.bars = find("bars");
    this.drawn = null;
    this.held = false;
    this.pairs = Array.from({ length: BARS }, () => {
      const pair = [svg("rect"), svg("rect")];
      pair[0].setAttribute("class", "written");
      pair[1].setAttribute("class", "deleted");
      this.bars.append(...pair);
      return pair;
    });
    const line = svg("line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 300, y1: 32, y2: 32 })) line.setAttribute(name, String(value));
    this.bars.append(line);
    // Nobody can click at what moves: under the pointer or the focus the list stands still.
    const hold = (held) => () => {
      this.held = held;
      write(find("held"), held ? "held while you point at them" : "");
    };
    this.list.addEventListener("pointerenter", hold(true));
    this.list.addEventListener("pointerleave", hold(false));
    this.list.addEventListener("focusin", hold(true));
    this.list.addEventListener("focusout", hold(false));
    this.list.addEventListener("click", (event) => {
      const name = event.target.closest("button")?.key;
      if (name) open(name);
    });
  }

  /** @param {import("./model.js").Model} model @param {number} now */
  draw(model, now) {
    this.drawBars(model, now);
    if (!this.held && this.drawn !== model.logged) {
      this.drawn = model.logged;
      this.items = model.log.slice(0, SHOWN).map((told) => this.item(told));
      this.list.replaceChildren(...this.items);
      if (!model.log.length) this.list.append(element("li", "note", "No change since the service was started."));
    }
    for (const item of this.list.children) if (item.at) write(item.when, age(item.at, now));
  }

  item(told) {
    const item = element("li");
    item.at = told.at;
    const open = element(told.name ? "button" : "div", `change ${told.kind}`);
    if (told.name) {
      open.type = "button";
      open.key = told.name;
    }
    const sign = element("span", "sign", SIGNS[told.kind]);
    sign.setAttribute("aria-hidden", "true");
    item.when = element("span", "when");
    item.when.title = time(told.at);
    const what = element("span", "what", summary(told));
    open.append(sign, element("span", "unseen", `${KINDS[told.kind]} `), element("span", "key", told.name ? visible(told.name) : told.reason), item.when, what);
    item.append(open);
    return item;
  }

  drawBars(model, now) {
    const last = Math.floor(now / 1000 / STEP);
    const written = new Array(BARS).fill(0), deleted = new Array(BARS).fill(0);
    for (const slot of model.counts) {
      const at = BARS - 1 - (last - Math.floor(slot.second / STEP));
      if (at < 0 || at >= BARS) continue;
      written[at] += slot.created + slot.updated;
      deleted[at] += slot.deleted;
    }
    const most = Math.max(1, ...written), mostDeleted = Math.max(1, ...deleted, most / 4);
    this.pairs.forEach(([up, down], at) => {
      bar(up, at, 32 - height(written[at], most, 31), height(written[at], most, 31));
      bar(down, at, 33, height(deleted[at], mostDeleted, 11));
    });
    const total = written.reduce((sum, count) => sum + count, 0), gone = deleted.reduce((sum, count) => sum + count, 0);
    const label = `The last 5 minutes: ${number(total)} written, ${number(gone)} deleted`;
    if (this.bars.getAttribute("aria-label") !== label) this.bars.setAttribute("aria-label", label);
    write(find("peak"), total + gone ? `${number(total)} written, ${number(gone)} deleted` : "no change");
  }
}

const height = (count, most, room) => (count ? Math.max(2, (count / most) * room) : 0);
function bar(rect, at, y, tall) {
  const place = `${at} ${y} ${tall}`;
  if (rect.place === place) return;
  rect.place = place;
  for (const [name, value] of Object.entries({ x: at * 5 + 0.5, y, width: 4, height: tall })) rect.setAttribute(name, String(value));
}

/** Rows of a table, rewritten in place. */
function rows(body, list, empty) {
  while (body.rows.length > Math.max(1, list.length)) body.lastElementChild.remove();
  while (body.rows.length < Math.max(1, list.length)) body.append(element("tr"));
  if (!list.length) {
    const cell = element("td", "note", empty);
    cell.colSpan = 4;
    body.rows[0].replaceChildren(cell);
    return;
  }
  list.forEach((texts, at) => {
    const row = body.rows[at];
    if (row.cells.length !== texts.length) row.replaceChildren(...texts.map((_, i) => element("td", i ? "n" : "")));
    texts.forEach((text, i) => write(row.cells[i], text));
  });
}

/** The owners with the most keys, and how many others there are. */
export function biggest(leases, most) {
  const top = [];
  for (const pair of leases) {
    if (top.length === most && pair[1] <= top[most - 1][1]) continue;
    let at = top.length;
    while (at > 0 && top[at - 1][1] < pair[1]) at -= 1;
    top.splice(at, 0, pair);
    if (top.length > most) top.pop();
  }
  return { top, others: leases.size - top.length };
}

/** A click on an owner shows its keys. By keyboard the choice above the table does. */
export function onOwner(show) {
  find("owners").addEventListener("click", (event) => {
    const { lease } = event.target.closest("tr") ?? {};
    if (lease !== undefined) show(lease);
  });
}

export function drawOwners(model, owners, owner) {
  const { top, others } = biggest(model.leases, MOST_OWNERS);
  const body = find("owners");
  const texts = top.map(([lease, keys]) => {
    const known = owners.get(lease);
    const ttl = known?.ttl == null ? "–" : known.ttl < 0 ? "expired" : span(known.ttl);
    return [owner(lease).short, number(keys), known ? bytes(known.bytes) : "–", lease === null ? "never" : ttl];
  });
  if (others) texts.push([`and ${number(others)} more`, "", "", ""]);
  rows(body, texts, model.complete ? "No keys, no owners." : "");
  for (const row of body.rows) delete row.lease;
  top.forEach(([lease], at) => {
    body.rows[at].cells[0].title = lease ?? "";
    body.rows[at].cells[0].className = "lease";
    body.rows[at].lease = lease;
  });
}

export function drawStore(status) {
  rows(find("observers"), (status.observers ?? []).map((one) => [
    visible(one.name ?? `number ${one.id}`), number(one.pending), one.behind_seconds ? span(one.behind_seconds) : "no",
  ]), "No observers.");
  const pairs = [
    ["Prefix", status.prefix], ["Values", status.value], ["Mode", status.mode], ["Revision", number(status.revision ?? 0)],
    ["Own keys", status.own ? `${number(status.own)} on ${plural(status.leases, "lease")}` : "none"],
    ["Repairs", number(status.repairs)], ["Lists since the first", number(status.relists ?? 0)],
    ["Audit", status.audit_rounds ? `${plural(status.audit_rounds, "round")}, ${plural(status.audited_keys, "key")} compared, ${plural(status.audit_differences, "difference")}` : "no round yet"],
    ["Readers of this stream", number(status.streams ?? 0)],
  ];
  if (status.indexes?.length) pairs.push(["Indexes", status.indexes.join(", ")]);
  const list = find("store");
  if (list.children.length !== pairs.length * 2) list.replaceChildren(...pairs.flatMap(() => [element("dt"), element("dd")]));
  pairs.forEach(([term, text], at) => {
    write(list.children[at * 2], term);
    write(list.children[at * 2 + 1], visible(String(text)));
  });
}

/** What an operator should know now, in sentences. */
export function concerns(status) {
  const found = [];
  const when = (count, text) => { if (count) found.push(text); };
  for (const one of status.set_aside ?? []) found.push(`${visible(one.name)} is set aside, the kvstore refuses it. ${sentence(one.cause)}`);
  when(status.pending_cause, `${plural(status.pending_writes, "write waits", "writes wait")}. ${sentence(status.pending_cause)}`);
  when(status.held_back, `${plural(status.held_back, "deletion is", "deletions are")} held back: much was deleted at once, and the owners have time to put it back.`);
  when(status.undecodable, `${plural(status.undecodable, "key has a value", "keys have values")} that cannot be decoded; the last good value is shown, if there was one.`);
  when(status.ignored, `${plural(status.ignored, "key is", "keys are")} ignored because of the name${status.ignored_example ? `, for example ${visible(String(status.ignored_example))}` : ""}.`);
  when(status.audit_differences, `The audit has found ${plural(status.audit_differences, "difference")} between the table and etcd, and mended ${status.audit_differences === 1 ? "it" : "them"}.`);
  when(status.other_histories, `etcd was restored, wiped or replaced ${status.other_histories === 1 ? "once" : `${number(status.other_histories)} times`} since the service was started.`);
  when(status.panics, `The service has contained ${plural(status.panics, "panic")} of codecs, filters or observers.`);
  when(status.state_error, `The snapshot on disk cannot be written. ${sentence(status.state_error)}`);
  for (const one of status.observers ?? []) {
    when(one.behind_seconds >= 5, `Observer ${visible(one.name ?? `number ${one.id}`)} is ${span(one.behind_seconds ?? 0)} behind, with ${plural(one.pending, "change")} pending.`);
  }
  return found;
}

export function drawConcerns(list) {
  const node = find("attention");
  node.hidden = !list.length;
  while (node.children.length > list.length) node.lastElementChild.remove();
  while (node.children.length < list.length) node.append(element("li"));
  list.forEach((text, at) => write(node.children[at], text));
}

/** The numbers of the summary. */
export function drawFacts(model, status, owner, now) {
  write(find("fact-keys"), number(model.entries.size));
  write(find("fact-keys-note"), status ? `at ${status.prefix}` : "");
  const leases = model.leases.size - (model.leases.has(null) ? 1 : 0);
  write(find("fact-owners"), number(leases));
  const [first, second] = biggest(model.leases, 2).top;
  const free = model.leases.get(null);
  const most = first && first[0] !== null && first[1] > (second?.[1] ?? 0);
  write(find("fact-owners-note"), [most ? `${second ? "most: " : ""}${owner(first[0]).short}, ${plural(first[1], "key")}` : "",
    free ? `${plural(free, "key")} without lease` : ""].filter(Boolean).join(" · "));
  const recent = model.within(60, now);
  const sum = recent.created + recent.updated + recent.deleted;
  write(find("fact-changes"), recent.all ? number(sum) : `${number(sum)} or more`);
  write(find("fact-changes-note"), sum ? ["created", "updated", "deleted"].filter((kind) => recent[kind]).map((kind) => `${number(recent[kind])} ${kind}`).join(" · ")
    : model.log[0]?.at ? `last one ${age(model.log[0].at, now)}` : "none seen yet");
  if (!status?.observers) return;
  write(find("fact-observers"), number(status.observers.length));
  const late = status.observers.filter((one) => one.behind_seconds > 0).sort((a, b) => b.behind_seconds - a.behind_seconds);
  write(find("fact-observers-note"), !status.observers.length ? "" : late.length
    ? `${visible(late[0].name ?? `number ${late[0].id}`)} is ${span(late[0].behind_seconds)} behind` : "none is behind");
}
