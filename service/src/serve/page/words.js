// Numbers, times and states in words.

const grouped = new Intl.NumberFormat("en");
export const number = (count) => grouped.format(count);
export const plural = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `${Math.floor(seconds)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** @param {number} at @param {number} now both in milliseconds */
export const age = (at, now) => (now - at < 1000 ? "now" : `${span((now - at) / 1000)} ago`);

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
/** The time of day; with the date if it is not today's. */
export function time(at) {
  const date = new Date(at);
  return (date.toDateString() === new Date().toDateString() ? clock : dated).format(date);
}

export function bytes(count) {
  if (count < 1024) return plural(count, "byte");
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const code = (found) => "\\u" + found.charCodeAt(0).toString(16).padStart(4, "0");
/** Text on one line, with control and direction characters as escapes: nothing can hide in it. */
export const visible = (text) => text.replace(HIDDEN, code);
/** Text of several lines, likewise. */
export const visibleLines = (text) => text.replace(HIDDEN, (found) => (found === "\n" ? found : code(found)));

/**
 * What is to be said about the freshness of the table.
 * @param {{phase: string, cause: string, since: number, retryAt: number, loaded: number}} link the page's connection
 * @param {{state: string, cause: string | null, seen: number | null, staleSince: number, publishes: boolean}} store as the service tells it
 * @param {{revision: number, keys: number, complete: boolean}} table what is shown
 * @param {number} now milliseconds
 * @returns {{kind: "fresh" | "wait" | "stale" | "lost", title: string, detail: string, announce: string}}
 */
export function freshness(link, store, table, now) {
  const say = (kind, title, detail, ticking = "") => ({ kind, title: title + ticking, detail, announce: `${title}. ${detail}` });
  if (store.publishes && store.state === "synced") return say("fresh", "Fresh", "The keys of this store are in etcd, unless they are named below. It caches no keys of others.");
  const kept = table.complete ? `The table shows the state of ${time((store.state === "stale" && store.staleSince) || link.loaded)}.` : "There is no complete table yet.";
  if (link.phase !== "open" && !store.publishes) {
    if (!table.complete && link.phase === "opening" && !link.cause) return say("wait", "Opening", "Asking the service for the table.");
    const wait = Math.max(0, Math.ceil((link.retryAt - now) / 1000));
    const lost = say("lost", "No connection to the service", `${link.cause}. ${kept}`, ` for ${span((now - link.since) / 1000)}`);
    lost.detail += link.phase === "waiting" && wait > 0 ? ` Next attempt in ${wait} s.` : " Trying again now.";
    return lost;
  }
  const why = sentence(store.cause);
  const state = store.state;
  if (state === "stale") {
    const title = store.staleSince ? ` for ${span((now - store.staleSince) / 1000)}` : "";
    const since = store.staleSince ? ` The keys are as they were at ${time(store.staleSince)}.` : "";
    return say("stale", "Stale", `${why || "The service gives no cause."}${since}`, title);
  }
  if (state === "closed") return say("lost", "Closed", why || "The service has closed this store.");
  if (state === "connecting") return say("wait", "Connecting to etcd", why || "The service has not reached etcd yet.");
  if (state === "listing") return say("wait", "Listing", why || `The service is reading all keys from etcd${store.seen ? `, ${plural(store.seen, "key")} so far` : ""}.`);
  if (!table.complete && !store.publishes) return say("wait", "Loading", `${plural(table.keys, "key")} so far.`);
  return say("fresh", "Fresh", `Every change up to revision ${number(table.revision)} is shown.`);
}

const REASONS = {
  first_state: "", event: "", given_up: "The service has given the key up: it was told to, or another process owns it now.",
  listed: "Seen by a new list: steps in between may be left out.",
  other_history: "etcd was restored, wiped or replaced.",
  attached: "The store was attached to another etcd or prefix.",
  entered_filter: "The key passes the filter of the store now.",
  left_filter: "The key exists, and does not pass the filter of the store any more.",
  undecodable: "Its new value cannot be decoded.", closed: "The service has closed the store.",
  held_back: "It was deleted earlier, and the deletion was held back until now.", drained: "The store was drained.",
};
/** Why a change was told, as a sentence; nothing for an ordinary change. */
export const because = (reason) => REASONS[reason] ?? sentence(reason.replaceAll("_", " "));

/** A cause as a sentence. */
export function sentence(cause) {
  if (!cause) return "";
  const text = visible(String(cause)).trim();
  const first = text.startsWith("etcd") ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
