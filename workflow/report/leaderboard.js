// The leaderboard's only script: what is shown, its order, the arrow keys, and details in a dialog. It reads no text as markup.
"use strict";
const all = (query, within = document) => [...within.querySelectorAll(query)];
const byId = (id) => document.getElementById(id);
const dialog = byId("dialog"), place = dialog.querySelector("div"), controls = byId("controls");
const sections = all(".matrix");
const visible = (element) => element.offsetParent !== null;

// details: the article of a cell, in a dialog
let home = null; // where the article stands in the page
function open(id) {
  const article = byId(id);
  if (!article || dialog.open) return;
  home = article.nextSibling;
  place.append(article);
  dialog.showModal();
  dialog.scrollTop = 0;
}
dialog.addEventListener("close", () => {
  const article = place.querySelector("article");
  byId("details").insertBefore(article, home);
  const link = all("a.cell").find((cell) => cell.hash === "#" + article.id);
  if (link) choose(link, document.activeElement === document.body); // else the browser has given the focus back
});
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
all("a.cell").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  open(link.hash.slice(1));
}));

// one cell of each matrix takes part in the order of the tab key; arrows go on from it
function choose(link, focus) {
  all("a.cell", link.closest("table")).forEach((cell) => { cell.tabIndex = cell === link ? 0 : -1; });
  if (focus) link.focus();
}
function chooseFirst(section) {
  const shown = all("a.cell", section).filter(visible);
  if (shown.length && !shown.some((cell) => cell.tabIndex === 0)) choose(shown[0], false);
}
const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
function move(event) {
  const link = event.target.closest("a.cell"), step = STEPS[event.key];
  if (!link || !step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const rows = all("tbody tr", event.currentTarget).filter(visible);
  const column = link.closest("td").cellIndex, row = rows.indexOf(link.closest("tr"));
  const inCell = all("a.cell", link.closest("td")), other = inCell[inCell.indexOf(link) + step[0]];
  if (step[0] && other) return choose(other, true);
  for (let r = row + step[0], c = column + step[1]; rows[r] && rows[r].cells[c]; r += step[0], c += step[1]) {
    const found = all("a.cell", rows[r].cells[c]).filter(visible);
    if (found.length) return choose(step[0] < 0 ? found[found.length - 1] : found[0], true);
  }
}

// order: by a column, in the view that is shown; what has no number comes last
function sort(section, column, descending) {
  const view = section.dataset.show, body = section.querySelector("tbody");
  const value = (row) => {
    const words = all(".cell", row.cells[column]).map((cell) => cell.dataset[view]).filter((word) => word);
    return words.length ? Math.max(...words.map(Number)) : null;
  };
  const ranked = [...body.rows].map((row) => [row, value(row)]);
  ranked.sort(([, a], [, b]) => (a === null) - (b === null) || (descending ? b - a : a - b));
  body.append(...ranked.map(([row]) => row));
  all("thead th", section).forEach((head, number) => {
    if (number === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  byId("status").textContent = "Sorted by " + all("thead th", section)[column].querySelector("button").textContent;
}
sections.forEach((section) => {
  all(".sort", section).forEach((words) => {
    const head = words.closest("th"), button = document.createElement("button");
    button.type = "button";
    button.textContent = words.textContent;
    button.title = "Sort by this column";
    words.replaceWith(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort"), high = section.dataset.show === "accuracy";
      sort(section, head.cellIndex, before ? before === "ascending" : high);
    });
  });
  section.querySelector("table").addEventListener("keydown", move);
});

// what is shown
function show() {
  const word = byId("search").value.trim().toLowerCase(), family = byId("family").value;
  const chosen = byId("dataset") ? byId("dataset").value : "";
  let lines = 0;
  sections.forEach((section) => {
    section.hidden = chosen !== "" && section.dataset.dataset !== chosen;
    if (section.dataset.show !== byId("show").value) all("th[aria-sort]", section).forEach((head) => head.removeAttribute("aria-sort"));
    section.dataset.show = byId("show").value;
    all("tbody tr", section).forEach((row) => {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(word);
      lines += !row.hidden && !section.hidden;
    });
    all("[data-family]", section).forEach((cell) => { cell.hidden = family !== "" && cell.dataset.family !== family; });
    all("a.cell", section).forEach((cell) => { if (!visible(cell)) cell.tabIndex = -1; });
    chooseFirst(section);
  });
  byId("status").textContent = lines === 1 ? "1 defence shown" : lines + " defences shown";
}
if (controls) {
  document.documentElement.classList.add("script");
  controls.hidden = false;
  controls.addEventListener("input", show);
  controls.addEventListener("submit", (event) => event.preventDefault());
  all("a.cell").forEach((cell) => { cell.tabIndex = -1; });
  show();
  // after the browser has gone to the address's part, which takes the focus away
  addEventListener("load", () => { if (location.hash.startsWith("#entry-")) open(location.hash.slice(1)); });
}
