// What the keys of the keyboard do.

import { find } from "./side.js";

/** @param {any} page the parts of the page that the keyboard drives */
export function keyboard({ table, detail, filter, visit, nextTheme, step, page }) {
  const help = find("help"), search = find("search");
  find("help-open").addEventListener("click", () => help.showModal());

  const escape = () => {
    if (detail.name !== null) visit(null);
    else if (search.value || page.owner !== undefined) filter({ all: true });
    if (document.activeElement === search) find("scroller").focus();
  };
  const open = () => {
    if (table.selected === null) return false;
    visit(table.selected);
    return true;
  };
  const moves = {
    j: () => table.move(1), ArrowDown: () => table.move(1),
    k: () => table.move(-1), ArrowUp: () => table.move(-1),
    PageDown: () => table.move(table.page), PageUp: () => table.move(-table.page),
    Home: () => table.go(0), End: () => table.go(table.list.length - 1),
    g: () => table.go(0), G: () => table.go(table.list.length - 1),
  };
  const commands = {
    "/": () => { search.focus(); search.select(); },
    "?": () => help.showModal(),
    Escape: escape,
    o: () => find("owner").focus(),
    r: () => filter({ order: "-revision" }),
    n: () => filter({ order: "name" }),
    h: () => { if (detail.name !== null) detail.loadHistory(); },
    t: nextTheme,
    "[": () => step(-1), "]": () => step(1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const { target, key } = event;
    if (target === search) {
      if (key === "Escape") escape();
      else if (key === "ArrowDown" || key === "Enter") {
        find("scroller").focus();
        if (table.selected === null || table.place() < 0) table.go(0);
        if (key === "Enter" && table.list.length === 1) open();
      } else return;
      event.preventDefault();
      return;
    }
    if (target.closest("select") && key !== "Escape") return;
    // Arrows and pages scroll what has the focus, if that is not the table.
    const elsewhere = target.closest(".detail, .side");
    if (elsewhere && key.length > 1 && key !== "Escape") return;
    if (key === "Enter") {
      if (!target.closest("button, a, summary") && open()) event.preventDefault();
      return;
    }
    const act = moves[key] ?? commands[key];
    if (!act) return;
    act();
    event.preventDefault();
  });
}
