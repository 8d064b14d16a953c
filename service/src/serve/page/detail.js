// One key: value, owner, lease, its last change as a difference, and its history on demand.

import { drawDiff, inLines, summary } from "./diff.js";
import { elements, members, shown } from "./json.js";
import { problem, reason } from "./stream.js";
import { element } from "./table.js";
import { age, because, bytes, number, sentence, span, time, visible } from "./words.js";

const LONGEST = 200_000; // characters of a value that are drawn

const KINDS = { created: "Created", updated: "Updated", deleted: "Deleted", modified: "Modified" };

/** @param {string} text @param {(event: Event) => void} act */
function button(text, act, name = "") {
  const made = element("button", name, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function copying(label, text) {
  const made = button(label, async () => {
    try {
      await navigator.clipboard.writeText(text());
      made.textContent = "Copied";
    } catch {
      made.textContent = "The browser refuses";
    }
    setTimeout(() => { made.textContent = label; }, 1500);
  }, "quiet");
  return made;
}

export class Detail {
  /**
   * @param {HTMLElement} root
   * @param {{close: () => void, owner: (lease: string | null) => {short: string, long: string, ttl: number | null}, filter: (lease: string | null) => void}} hooks
   */
  constructor(root, hooks) {
    Object.assign(this, { root, hooks, name: null, entry: null, store: "", seen: "", facts: null, serial: 0 });
  }

  /** @param {string} store @param {string} name @param {import("./model.js").Model} model */
  open(store, name, model) {
    if (this.name === name && this.store === store) return;
    Object.assign(this, { store, name, model, entry: null, seen: "", created: null });
    this.root.hidden = false;
    this.root.scrollTop = 0;
    this.root.replaceChildren(this.heading(), this.facts = element("dl", "pairs"),
      this.change = element("section"), this.value = element("section"), this.past = element("section"));
    this.offerHistory();
    this.refresh();
    this.learn();
  }

  close() {
    this.serial += 1;
    Object.assign(this, { name: null, entry: null });
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  heading() {
    const head = element("div", "heading");
    const title = element("h2", "key-name", visible(this.name));
    const tools = element("div", "buttons");
    tools.append(copying("Copy name", () => this.name), copying("Copy value", () => this.entry?.text ?? ""),
      button("Close", () => this.hooks.close(), "quiet"));
    head.append(title, tools, this.notice = element("p", "notice"));
    return head;
  }

  /** When the key was created is not in the stream. */
  async learn() {
    clearTimeout(this.timer);
    const serial = this.serial += 1;
    await new Promise((go) => { this.timer = setTimeout(go, 120); });
    try {
      const query = new URLSearchParams({ prefix: this.name, limit: "1" });
      const response = await fetch(`/v1/stores/${encodeURIComponent(this.store)}/keys?${query}`);
      if (!response.ok || serial !== this.serial) return;
      const [key] = (await response.json()).keys;
      if (serial !== this.serial || key?.name !== this.name) return;
      this.created = key.create_revision;
      this.drawFacts();
    } catch { /* the facts of the stream remain */ }
  }

  /** Draws what has changed since it was drawn last. */
  refresh() {
    if (this.name === null) return;
    const known = this.model.entries.get(this.name);
    if (known && this.entry?.gone) this.learn();
    if (known) this.entry = known;
    const { entry } = this;
    if (!entry) {
      this.notice.textContent = this.model.complete
        ? "There is no such key. If it is created, it appears here." : "The keys are still being loaded.";
      return;
    }
    const seen = `${entry.revision} ${entry.gone} ${entry.lease} ${entry.kind}`;
    if (seen !== this.seen) {
      this.seen = seen;
      this.drawFacts();
      this.drawChange();
      this.drawValue();
    }
    this.tick();
  }

  tick() {
    const { entry } = this;
    if (!entry || this.name === null) return;
    const now = Date.now();
    this.notice.textContent = entry.gone ? `Deleted ${age(entry.at, now)}. This was its last value.` : "";
    if (this.when) {
      this.when.textContent = entry.at ? `${KINDS[entry.kind]} ${age(entry.at, now)}, at ${time(entry.at)}` : "not since the service was started";
    }
  }

  drawFacts() {
    const { entry } = this;
    if (!entry) return;
    const owner = this.hooks.owner(entry.lease);
    const who = element("dd");
    who.append(owner.long, " ");
    who.append(button("Show its keys", () => this.hooks.filter(entry.lease), "quiet small"));
    this.when = element("dd");
    const pairs = [["Owner", who], ["Changed", this.when], ["Revision", element("dd", "", number(entry.revision))]];
    if (entry.lease) {
      const lease = element("dd");
      lease.append(element("code", "", entry.lease));
      if (owner.ttl !== null) lease.append(owner.ttl < 0 ? ", expired" : `, expires in ${span(owner.ttl)} unless kept alive`);
      pairs.splice(1, 0, ["Lease", lease]);
    }
    if (this.created) pairs.push(["Exists since", element("dd", "", `revision ${number(this.created)}`)]);
    const size = entry.encoding === "base64" ? Math.floor(entry.text.replace(/=+$/, "").length * 3 / 4) : new Blob([entry.text]).size;
    pairs.push(["Size", element("dd", "", `${bytes(size)}${entry.encoding === "base64" ? ", binary (shown as base64)" : ""}`)]);
    this.facts.replaceChildren(...pairs.flatMap(([term, text]) => [element("dt", "", term), text]));
    this.tick();
  }

  drawChange() {
    const { entry } = this;
    const parts = [element("h3", "", "Last change")];
    const reason = because(entry.reason);
    const why = reason && ` ${reason}`;
    if (entry.kind === "created") parts.push(element("p", "", `Created with this value.${why}`));
    else if (entry.kind === "deleted") parts.push(element("p", "", `Deleted.${why}`));
    else if (entry.old === null) parts.push(element("p", "", "It was before the service was started. The history may show it."));
    else {
      if (reason) parts.push(element("p", "", reason));
      parts.push(drawDiff(cut(entry.old), cut(entry.text), entry.encoding));
    }
    this.change.replaceChildren(...parts);
  }

  drawValue() {
    const { entry } = this;
    const text = cut(entry.text);
    const box = element("pre", "value-box", inLines(text, text === entry.text ? entry.encoding : "text").join("\n"));
    box.tabIndex = 0;
    this.value.replaceChildren(element("h3", "", entry.gone ? "Last value" : "Value"), box);
    if (text !== entry.text) this.value.append(element("p", "note", `These are the first ${number(LONGEST)} of ${number(entry.text.length)} characters. “Copy value” takes all.`));
  }

  offerHistory() {
    this.past.replaceChildren(element("h3", "", "History"),
      button("Load the history from etcd", () => this.loadHistory()));
  }

  async loadHistory() {
    if (this.name === null) return;
    const { name } = this;
    this.past.replaceChildren(element("h3", "", "History"), element("p", "note", "Asking etcd…"));
    let parts;
    try {
      // A browser takes "." and ".." out of a path, unless their slashes are encoded, too.
      const dots = name.split("/").some((part) => part === "." || part === "..");
      const path = dots ? encodeURIComponent(name) : name.split("/").map(encodeURIComponent).join("/");
      const response = await fetch(`/v1/stores/${encodeURIComponent(this.store)}/explain/${path}`);
      if (!response.ok) throw new Error(await problem(response));
      parts = this.history(await response.text());
    } catch (error) {
      parts = [element("p", "", sentence(reason(error)))];
    }
    if (this.name !== name) return;
    this.past.replaceChildren(element("h3", "", "History"), ...parts,
      button("Load again", () => this.loadHistory(), "quiet"));
  }

  /** @param {string} raw the answer of `explain`, whose members may be more than these */
  history(raw) {
    const found = members(raw) ?? new Map();
    const etcd = members(found.get("kvstore") ?? "null") ?? found;
    const parts = [];
    for (const note of elements(found.get("notes"))) parts.push(element("p", "", plain(note)));
    const failed = plain(found.get("kvstore_error") ?? "null");
    if (failed) return [...parts, element("p", "", sentence(`etcd does not tell: ${failed}`))];
    const encoding = this.entry?.encoding ?? "json";
    const steps = elements(etcd.get("history")).map((step) => {
      const parsed = members(step) ?? new Map();
      const value = parsed.get("value");
      return {
        kind: plain(parsed.get("change") ?? '""'), revision: Number(parsed.get("revision") ?? 0),
        lease: plain(parsed.get("lease") ?? "null") || null, text: value === undefined ? null : shown(value, encoding),
        undecodable: plain(parsed.get("undecodable") ?? "null"),
      };
    }).sort((a, b) => b.revision - a.revision);
    const list = element("ol", "steps");
    steps.forEach((step, at) => {
      const before = steps[at + 1];
      const item = element("li");
      const title = element("p", "step");
      title.append(element("strong", "", KINDS[step.kind] ?? step.kind), ` at revision ${number(step.revision)}`);
      const owner = this.hooks.owner(step.lease).short;
      if (step.kind !== "deleted") title.append(` · ${owner}`);
      item.append(title);
      if (step.undecodable) item.append(element("p", "", sentence(`the value cannot be decoded: ${step.undecodable}`)));
      if (before?.text != null && step.text !== null && step.kind !== "created" && before.kind !== "deleted") {
        item.append(before.text === step.text ? element("p", "note", "The same value.") : drawDiff(before.text, step.text, encoding));
      } else if (step.text !== null) {
        item.append(element("p", "mono", summary({ kind: step.kind, text: step.text, old: null, encoding })));
      }
      list.append(item);
    });
    if (steps.length) parts.push(list);
    else parts.push(element("p", "", "etcd has no history of this key."));
    const since = Number(JSON.parse(etcd.get("history_since") ?? found.get("since") ?? "0"));
    if (since) parts.push(element("p", "note", `Older than revision ${number(since)} is compacted: etcd has forgotten it.`));
    for (const [name, value] of found) {
      if (["name", "notes", "history", "since", "state"].includes(name) || value === "null") continue;
      const box = element("details");
      box.append(element("summary", "", TITLES[name] ?? visible(name)), element("pre", "value-box", inLines(value, "json").join("\n")));
      parts.push(box);
    }
    return parts;
  }
}

const TITLES = { kvstore: "As etcd has it", cache: "As the service's table has it", own: "As this process wants it" };
const cut = (text) => (text.length > LONGEST ? text.slice(0, LONGEST) : text);
/** A text of a JSON document. */
const plain = (raw) => {
  const value = JSON.parse(raw);
  return typeof value === "string" ? visible(value) : value === null ? "" : visible(raw);
};
