// The difference of two values, in lines and in words.

import { members, pretty } from "./json.js";
import { brief, element } from "./table.js";
import { visible, visibleLines } from "./words.js";

const MOST = 4_000_000; // cells of the table of the longest common subsequence
const WORD = /[\p{L}\p{N}_.]/u;
const AROUND = 3; // unchanged lines shown around a change

/**
 * Lines of both texts: " " in both, "-" only before, "+" only after.
 * @param {string[]} before @param {string[]} after @returns {[string, string][]}
 */
export function lines(before, after) {
  let start = 0, end = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  while (end < before.length - start && end < after.length - start
    && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const a = before.slice(start, before.length - end), b = after.slice(start, after.length - end);
  const same = (list) => list.map((line) => /** @type {[string, string]} */ ([" ", line]));
  return [...same(before.slice(0, start)), ...middle(a, b), ...same(before.slice(before.length - end))];
}

function middle(a, b) {
  const removed = a.map((line) => ["-", line]), added = b.map((line) => ["+", line]);
  if (!a.length || !b.length || a.length * b.length > MOST) return [...removed, ...added];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = a[i] === b[j]
        ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const found = [];
  let i = 0, j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      found.push([" ", a[i]]);
      i += 1;
      j += 1;
    } else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) {
      found.push(removed[i]);
      i += 1;
    } else {
      found.push(added[j]);
      j += 1;
    }
  }
  return [...found, ...removed.slice(i), ...added.slice(j)];
}

/** A value in lines, as it is shown. */
export const inLines = (text, encoding) => visibleLines(encoding === "json" ? pretty(text) : text).split("\n");

/** The difference of two values as an element. */
export function drawDiff(before, after, encoding) {
  const box = element("div", "diff");
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Difference: lines with minus were removed, lines with plus were added");
  const found = lines(before === null ? [] : inLines(before, encoding), after === null ? [] : inLines(after, encoding));
  const changed = found.map(([sign]) => sign !== " ");
  let left = 0;
  const rest = () => {
    if (left) box.append(element("div", "line skip", `${left} unchanged ${left === 1 ? "line" : "lines"}`));
    left = 0;
  };
  found.forEach(([sign, text], at) => {
    const near = changed.slice(Math.max(0, at - AROUND), at + AROUND + 1).includes(true);
    if (!near) {
      left += 1;
      return;
    }
    rest();
    const line = element("div", sign === "-" ? "line removed" : sign === "+" ? "line added" : "line");
    line.append(element("span", "sign", sign));
    const pair = partner(found, at);
    if (pair === null) line.append(text);
    else line.append(...within(text, pair));
    box.append(line);
  });
  rest();
  if (!changed.includes(true)) box.append(element("div", "line skip", "The two values are the same."));
  return box;
}

/** The line a line has replaced or was replaced by: runs of removed and added lines of the same length are pairs. */
function partner(found, at) {
  const sign = found[at][0];
  if (sign === " ") return null;
  let start = at, end = at;
  while (start > 0 && found[start - 1][0] !== " ") start -= 1;
  while (end < found.length && found[end][0] !== " ") end += 1;
  if (end - start > 100) return null;
  const half = (end - start) / 2;
  for (let i = start; i < end; i += 1) if (found[i][0] !== (i < start + half ? "-" : "+")) return null;
  return found[sign === "-" ? at + half : at - half]?.[1] ?? null;
}

/** A line with the part marked that its partner does not have. */
function within(text, other) {
  let start = 0, end = 0;
  const most = Math.min(text.length, other.length);
  while (start < most && text[start] === other[start]) start += 1;
  while (end < most - start && text[text.length - 1 - end] === other[other.length - 1 - end]) end += 1;
  // Whole words are marked: "false", not "fals".
  while (start > 0 && WORD.test(text[start - 1])) start -= 1;
  while (end > 0 && WORD.test(text[text.length - end])) end -= 1;
  if (start + end < text.length / 4) return [text];
  return [text.slice(0, start), element("mark", "", text.slice(start, text.length - end)), text.slice(text.length - end)];
}

const short = (text) => visible(text.length > 60 ? `${text.slice(0, 59)}…` : text);

/** What a change did, on one line. */
export function summary({ kind, text, old, encoding }) {
  if (kind === "remark") return text;
  if (kind !== "updated" || old === null) return visible(brief(text.slice(0, 300), encoding));
  if (text === old) return "the same value again";
  const after = encoding === "json" ? members(text) : null;
  const before = encoding === "json" ? members(old) : null;
  if (!after || !before) return `${short(old)} → ${short(text)}`;
  const told = [];
  for (const [name, value] of after) {
    const was = before.get(name);
    if (was === undefined) told.push(`${name} added: ${value}`);
    else if (was !== value) told.push(`${name}: ${short(was)} → ${short(value)}`);
  }
  for (const name of before.keys()) if (!after.has(name)) told.push(`${name} removed`);
  return visible(told.join(", ").slice(0, 300));
}
