// One store as the page knows it: entries in order, recent changes, counts. Nothing here touches the document.

import { change } from "./json.js";

const LOG = 500; // changes that the timeline keeps
export const SPAN = 300; // seconds of counts

/**
 * @typedef {{name: string, text: string, encoding: string, revision: number, lease: string | null, origin: string,
 *   reason: string, at: number, old: string | null, kind: string, generation: number, gone: boolean, ranked: number,
 *   everywhere: boolean, viewed: boolean}} Entry
 * `at` is when the entry changed (milliseconds, 0: before anybody looked), `kind` what happened then.
 */

const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
const byNameDown = (a, b) => byName(b, a);
// By the revision an entry had when it was put in its place, so that it can be found again.
const byRevision = (a, b) => b.ranked - a.ranked || byName(a, b);
const byRevisionUp = (a, b) => a.ranked - b.ranked || byName(a, b);
export const ORDERS = { name: byName, "-name": byNameDown, "-revision": byRevision, revision: byRevisionUp };

const FEW = 100; // changes that are cheaper one by one than in a pass over all entries

/** Entries in order. */
class Ordered {
  constructor(flag, compare, accepts) {
    Object.assign(this, { flag, compare, accepts, moves: compare === byRevision || compare === byRevisionUp, list: [] });
  }

  /** Takes changed entries in. */
  take(changed) {
    const { flag } = this;
    const added = [], dropped = [];
    for (const entry of changed) {
      const wanted = !entry.gone && this.accepts(entry);
      if (entry[flag] && (!wanted || (this.moves && entry.ranked !== entry.revision))) {
        entry[flag] = false;
        dropped.push(entry);
      }
      if (wanted && !entry[flag]) added.push(entry);
    }
    const few = dropped.length + added.length <= FEW;
    if (few) for (const entry of dropped) this.list.splice(this.place(entry), 1);
    else if (dropped.length) this.list = this.list.filter((entry) => entry[flag]);
    for (const entry of added) {
      entry[flag] = true;
      if (this.moves) entry.ranked = entry.revision;
    }
    if (few) for (const entry of added) this.list.splice(this.place(entry), 0, entry);
    else if (added.length) this.merge(added.sort(this.compare));
  }

  /** Where an entry is, or belongs. */
  place(entry) {
    let low = 0, high = this.list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compare(this.list[middle], entry) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  merge(added) {
    const { list, compare } = this;
    if (!list.length || compare(list[list.length - 1], added[0]) < 0) {
      for (const entry of added) list.push(entry);
      return;
    }
    const merged = new Array(list.length + added.length);
    let from = 0, at = 0;
    for (const entry of added) {
      while (from < list.length && compare(list[from], entry) < 0) merged[at++] = list[from++];
      merged[at++] = entry;
    }
    while (from < list.length) merged[at++] = list[from++];
    this.list = merged;
  }
}

export class Model {
  /** @param {() => void} changed is called when there is something to draw */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
    this.all = new Ordered("everywhere", byName, () => true);
    this.view = new Ordered("viewed", byName, () => true);
    this.order = "name";
    this.words = [];
    this.owner = undefined; // undefined: all; null: keys without a lease
    /** @type {Set<Entry>} */
    this.touched = new Set();
    /** @type {Map<string | null, number>} keys by lease */
    this.leases = new Map();
    /** @type {Set<string>} leases of the service */
    this.local = new Set();
    this.log = []; // newest first
    this.counts = Array.from({ length: SPAN }, () => ({ second: 0, created: 0, updated: 0, deleted: 0 }));
    this.generation = 0;
    this.refilling = false;
    this.complete = false;
    this.revision = 0;
    this.known = 0; // since when all changes were counted (milliseconds)
    this.logged = 0; // grows with every entry of the log
    this.problems = [];
  }

  /** A connection begins. Unless it goes on where the last one ended, all keys follow. */
  opened(resumed) {
    if (resumed) return;
    this.generation += 1;
    this.refilling = true;
  }

  /** All keys have come: what was not among them is gone. */
  synced(revision, now) {
    if (this.refilling) {
      this.refilling = false;
      for (const entry of this.entries.values()) {
        if (entry.generation !== this.generation) {
          this.drop(entry, { revision, at: now, reason: "deleted while the page was not connected" });
        }
      }
    }
    this.complete = true;
    this.revision = Math.max(revision, 0);
    this.changed();
  }

  /** @param {import("./json.js").Change} told @param {number} now */
  update(told, now) {
    const known = this.entries.get(told.name);
    const refill = told.initial && this.refilling;
    if (told.origin === "local" && told.lease !== null) this.local.add(told.lease);
    if (!refill) this.revision = Math.max(this.revision, told.revision);
    if (known && refill && known.revision === told.revision && known.text === told.text) {
      known.generation = this.generation;
      if (known.lease !== told.lease) this.own(known, told.lease);
      return;
    }
    // A first state says what is, not when it came to be.
    const news = !told.initial || (refill && this.complete);
    const entry = known ?? {
      name: told.name, text: "", encoding: "json", revision: 0, lease: told.lease, origin: "", reason: "", at: 0,
      old: null, kind: "", generation: 0, ranked: 0, gone: false, everywhere: false, viewed: false,
    };
    if (known) {
      if (known.lease !== told.lease) this.own(known, told.lease);
      entry.old = told.old ?? known.text;
    } else {
      this.entries.set(entry.name, entry);
      this.count(entry.lease, 1);
      entry.old = told.old;
    }
    const kind = known || told.old !== null ? "updated" : "created";
    Object.assign(entry, {
      text: told.text, encoding: told.encoding, revision: told.revision, origin: told.origin, reason: told.reason,
      generation: this.generation, gone: false,
    });
    if (news) {
      entry.at = now;
      entry.kind = kind;
      this.record({ ...told, kind, old: entry.old, at: now });
    }
    this.touch(entry);
  }

  /** @param {import("./json.js").Change} told @param {number} now */
  remove(told, now) {
    this.revision = Math.max(this.revision, told.revision);
    const entry = this.entries.get(told.name);
    if (entry) this.drop(entry, { revision: told.revision, at: now, reason: told.reason });
    else this.record({ ...told, old: told.text, kind: "deleted", at: now });
  }

  drop(entry, { revision, at, reason }) {
    this.entries.delete(entry.name);
    this.count(entry.lease, -1);
    Object.assign(entry, { gone: true, kind: "deleted", revision, at, reason, old: entry.text });
    this.record({ ...entry, kind: "deleted" });
    this.touch(entry);
  }

  touch(entry) {
    this.touched.add(entry);
    // In a hidden page nothing is drawn: deleted entries must not pile up.
    if (this.touched.size > 2 * this.entries.size + 1000) this.flush();
    this.changed();
  }

  own(entry, lease) {
    this.count(entry.lease, -1);
    entry.lease = lease;
    this.count(lease, 1);
  }

  count(lease, by) {
    const keys = (this.leases.get(lease) ?? 0) + by;
    if (keys > 0) this.leases.set(lease, keys);
    else this.leases.delete(lease);
  }

  record({ name, text, old, encoding, revision, kind, reason, at }) {
    this.log.unshift({ name, text, old, encoding, revision, kind, reason, at });
    if (this.log.length > LOG) this.log.length = LOG;
    this.logged += 1;
    this.tally(kind, at);
  }

  /** Something that is no change of a key. */
  remark(title, text, at) {
    this.log.unshift({ name: "", text, old: null, encoding: "text", revision: 0, kind: "remark", reason: title, at });
    if (this.log.length > LOG) this.log.length = LOG;
    this.logged += 1;
    this.changed();
  }

  tally(kind, at) {
    const second = Math.floor(at / 1000);
    const slot = this.counts[second % SPAN];
    if (slot.second > second) return;
    if (slot.second !== second) Object.assign(slot, { second, created: 0, updated: 0, deleted: 0 });
    slot[kind] += 1;
  }

  /**
   * What the service has seen before the page came, newest first.
   * @param {string[]} raw @param {boolean} all whether there was nothing before @param {number} offset from the service's clock to ours, in milliseconds
   */
  history(raw, all, offset) {
    const past = [];
    for (const data of raw) {
      const type = /^\{"type":"(update|delete)"/.exec(data)?.[1];
      if (!type) continue;
      const told = change(data);
      const at = Date.parse(told.at) + offset;
      if (told.initial || Number.isNaN(at)) continue;
      const kind = type === "delete" ? "deleted" : told.old === null ? "created" : "updated";
      const known = this.entries.get(told.name);
      if (this.log.some((seen) => seen.name === told.name && seen.revision === told.revision)) continue;
      past.push({ ...told, old: kind === "deleted" ? told.text : told.old, kind, at });
      this.tally(kind, at);
      if (known && known.revision === told.revision && !known.at) {
        Object.assign(known, { at, kind, old: told.old, reason: told.reason });
        this.touched.add(known);
      }
    }
    if (!all) this.known = past.at(-1)?.at ?? 0;
    this.log = this.log.concat(past).sort((a, b) => b.at - a.at).slice(0, LOG);
    this.logged += past.length;
    this.changed();
  }

  /** What happened within the last `seconds`. */
  within(seconds, now) {
    const sum = { created: 0, updated: 0, deleted: 0, all: this.known <= now - seconds * 1000 };
    const first = Math.floor(now / 1000) - seconds;
    for (const slot of this.counts) {
      if (slot.second <= first) continue;
      sum.created += slot.created;
      sum.updated += slot.updated;
      sum.deleted += slot.deleted;
    }
    return sum;
  }

  /** Sets what the table shows. */
  show({ order = this.order, search, owner }) {
    this.order = order;
    if (search !== undefined) this.words = search.toLowerCase().split(/\s+/).filter(Boolean);
    this.owner = owner;
    this.flush();
    const { words } = this;
    const patterns = words.map((word) => new RegExp(word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"));
    const accepts = (entry) => (owner === undefined || entry.lease === owner)
      && patterns.every((pattern) => pattern.test(entry.name) || pattern.test(entry.text));
    this.view = new Ordered("viewed", ORDERS[order], accepts);
    const list = [];
    for (const entry of this.all.list) {
      entry.viewed = accepts(entry);
      entry.ranked = entry.revision;
      if (entry.viewed) list.push(entry);
    }
    if (order === "-name") list.reverse();
    else if (order !== "name") list.sort(ORDERS[order]);
    this.view.list = list;
  }

  /** Puts what was touched in its place, and returns it. */
  flush() {
    const { touched } = this;
    if (!touched.size) return touched;
    this.touched = new Set();
    this.all.take(touched);
    this.view.take(touched);
    return touched;
  }
}
