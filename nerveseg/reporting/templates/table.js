// A table with a row for each subject or scan: sorted by its headings, filtered, and as it was after a visit to a page.
"use strict";

// `filters` are fields by name, of which `text` is searched for in the rows' text; `fits(row)` judges the others.
function listTable({table, key, form, filters, fits, noun}) {
  const rows = [...table.tBodies[0].rows];
  const headings = [...table.tHead.rows[0].cells];
  const byId = (id) => document.getElementById(id);

  // Sorting. Undefined values stay last in either direction; the first order lasts until another was asked for.
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const sorting = { column: headings.findIndex((cell) => cell.hasAttribute("aria-sort")), direction: 1, asked: false };

  function sortRows() {
    const { column, direction } = sorting;
    headings.forEach((cell, index) => {
      if (index === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    const numeric = headings[column].classList.contains("number") || headings[column].classList.contains("flags");
    const value = (row) => row.cells[column].dataset.value;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return direction * (numeric ? x - y : compare(x, y));
    };
    table.tBodies[0].append(...(sorting.asked ? [...rows].sort(order) : rows));
  }

  headings.forEach((cell, index) => {
    cell.querySelector("button")?.addEventListener("click", () => {
      const again = index === sorting.column && sorting.asked;
      sorting.direction = again ? -sorting.direction : cell.classList.contains("flags") ? -1 : 1;
      sorting.column = index;
      sorting.asked = true;
      sortRows();
      remember();
    });
  });

  function filterRows() {
    const words = filters.text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && fits(row));
      shown += !row.hidden;
    }
    byId("count").textContent = `${shown} of ${rows.length} ${noun}`;
    byId("nothing").hidden = shown > 0;
  }

  form.addEventListener("input", () => { filterRows(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filterRows(); remember(); }));

  function remember() {
    const values = Object.fromEntries(Object.entries(filters).map(([name, field]) => [name, field?.value ?? ""]));
    try { sessionStorage.setItem(key, JSON.stringify({ sorting, values })); } catch { /* storage is off */ }
  }

  try {
    const kept = JSON.parse(sessionStorage.getItem(key));
    for (const [name, field] of Object.entries(kept ? filters : {})) if (field) field.value = kept.values[name] ?? "";
    if (kept && headings[kept.sorting.column]?.querySelector("button")) Object.assign(sorting, kept.sorting);
  } catch { /* storage is off or holds something else */ }
  if (sorting.asked) sortRows();

  return { rows, filterRows };
}

const element = (name, className, textContent) => Object.assign(document.createElement(name), { className, textContent });
