// The page of many scans: filters, and a form for the verdict on each mask, as the scans' own pages keep them.
(() => {
  const byId = (id) => document.getElementById(id);
  const filters = { text: byId("filter-text"), grade: byId("filter-grade"), flag: byId("filter-flag"), verdict: byId("filter-verdict") };

  function fits(row) {
    const { grade, flags, verdict } = row.dataset, chosen = filters.verdict.value;
    return (!filters.grade.value || grade === filters.grade.value) &&
      (!filters.flag?.value || flags.split(" ").includes(filters.flag.value)) &&
      (!chosen || (chosen === "none" ? !verdict : chosen === "earlier" ? "earlier" in row.dataset && !verdict : verdict === chosen));
  }

  const { rows, filterRows } = listTable({
    table: byId("scan-table"), key: `nerveseg-scans:${location.pathname}`, form: byId("filters"), filters, fits, noun: "scans",
  });

  const fields = (row) => ({ radios: [...row.querySelectorAll("input[type=radio]")], note: row.querySelector(".note"), state: row.querySelector(".state") });

  // The verdict that was read from a file, unless this browser keeps a later one on the same mask.
  function current(row) {
    const own = reviews.read(row.dataset.scan, row.dataset.mask);
    const [verdict, note, reviewer, date] = JSON.parse(row.dataset.review || "[]");
    const recorded = row.dataset.review ? { verdict, note, reviewer, date, recorded: true } : null;
    if (!own || !recorded) return own || recorded;
    const same = own.verdict === verdict && (own.note || "") === note;
    return same || Date.parse(own.date) < Date.parse(date) ? recorded : own;
  }

  function show(row) {
    if (!row.dataset.mask) return;
    const entry = current(row), { radios, note, state } = fields(row);
    row.dataset.verdict = entry?.verdict || "";
    row.querySelector("td.review").dataset.value = entry?.verdict || "";
    radios.forEach((radio) => { radio.checked = radio.value === entry?.verdict; });
    if (document.activeElement !== note) note.value = entry?.note || "";
    state.replaceChildren();
    if (!entry) return;
    const words = [entry.verdict || "note", entry.reviewer && `by ${entry.reviewer}`].filter(Boolean).join(" ");
    state.append(element("b", "", `${words}${entry.date ? `, ${entry.date.slice(0, 10)}` : ""}`));
    if (entry.note) state.append(element("span", "note-text", `: ${entry.note}`));
    if (entry.recorded) return;
    const undo = element("button", "undo", "Undo");
    undo.type = "button";
    undo.setAttribute("aria-label", `Undo the verdict on ${row.dataset.name}`);
    undo.addEventListener("click", () => { reviews.keep(row.dataset.scan, row.dataset.mask, null); note.value = ""; showAll({ refilter: false }); radios[0].focus(); });
    state.append(element("span", "screen-only", " in this browser "), undo);
  }

  // A row that was just reviewed stays in the list until the filters are used again, so that a note can follow.
  function showAll({ refilter = true } = {}) {
    rows.forEach(show);
    const counts = { accept: 0, correct: 0, reject: 0 };
    rows.forEach((row) => { const { verdict } = row.dataset; if (verdict) counts[verdict] += 1; });
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    byId("reviewed").textContent = total
      ? `${total} reviewed (${Object.entries(counts).filter(([, count]) => count).map(([verdict, count]) => `${count} ${verdict}`).join(", ")})` : "none reviewed yet";
    byId("export").disabled = !rows.some((row) => row.dataset.mask && current(row));
    if (refilter) filterRows();
  }

  function keepVerdict(row) {
    const { radios, note } = fields(row);
    const verdict = radios.find((radio) => radio.checked)?.value || "";
    const entry = { verdict, note: note.value.trim(), reviewer: byId("reviewer").value.trim(), date: new Date().toISOString() };
    if (!reviews.keep(row.dataset.scan, row.dataset.mask, entry)) byId("lost").hidden = false;
    showAll({ refilter: false });
  }

  rows.filter((row) => row.dataset.mask).forEach((row) => row.querySelector("td.review").addEventListener("change", () => keepVerdict(row)));
  byId("reviewer").value = reviews.reviewer();
  byId("reviewer").addEventListener("input", () => reviews.reviewer(byId("reviewer").value.trim()));
  byId("export").addEventListener("click", () => reviews.download("verdicts.csv", rows
    .map((row) => ({ row, entry: row.dataset.mask && current(row) })).filter(({ entry }) => entry)
    .map(({ row, entry }) => ({ ...entry, scan: row.dataset.name, mask_sha256: row.dataset.mask, model_sha256: row.dataset.model }))));

  addEventListener("storage", showAll);
  addEventListener("pageshow", showAll);
  document.addEventListener("visibilitychange", showAll);
  showAll();
})();
