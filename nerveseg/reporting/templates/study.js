"use strict";
// The study page: sorting and filtering of the subjects, reviews kept by the subject pages, boxplots.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const table = byId("subject-table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const stateKey = `nerveseg-table:${data.study}`;

  // Sorting. Undefined values stay last in either direction; failures lead only while nothing else was asked for.
  const original = [...rows];
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
    body.append(...(sorting.asked ? [...original].sort(order) : original));
  }

  headings.forEach((cell, index) => {
    const button = cell.querySelector("button");
    button?.addEventListener("click", () => {
      const again = index === sorting.column && sorting.asked;
      sorting.direction = again ? -sorting.direction : cell.classList.contains("flags") ? -1 : 1;
      sorting.column = index;
      sorting.asked = true;
      sortRows();
      remember();
    });
  });

  // Filtering.
  const filters = { text: byId("filter-text"), cohort: byId("filter-cohort"), location: byId("filter-location"), kind: byId("filter-kind") };
  const kinds = {
    flagged: (row) => Number(row.dataset.flags) > 0,
    failed: (row) => "failed" in row.dataset,
    reviewed: (row) => row.dataset.reviewed === "yes",
    unreviewed: (row) => row.dataset.reviewed !== "yes",
  };

  function filterRows() {
    const words = filters.text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        words.every((word) => text.includes(word)) &&
        (!filters.cohort?.value || row.dataset.cohort === filters.cohort.value) &&
        (!filters.location?.value || row.dataset.location === filters.location.value) &&
        (!filters.kind.value || kinds[filters.kind.value](row));
      row.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = `${shown} of ${rows.length} subjects`;
    byId("nothing").hidden = shown > 0;
  }

  byId("filters").addEventListener("input", () => { filterRows(); remember(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(() => { filterRows(); remember(); }));

  // What was sorted and filtered is still so when one comes back from a subject's page.
  function remember() {
    const values = Object.fromEntries(Object.entries(filters).map(([name, field]) => [name, field?.value ?? ""]));
    try { sessionStorage.setItem(stateKey, JSON.stringify({ sorting, values })); } catch { /* storage is off */ }
  }

  function recall() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(stateKey));
      if (!kept) return;
      for (const [name, field] of Object.entries(filters)) if (field) field.value = kept.values[name] ?? "";
      if (headings[kept.sorting.column]?.querySelector("button")) Object.assign(sorting, kept.sorting);
    } catch { /* storage is off or holds something else */ }
  }

  // Reviews, as the subject pages keep them; one that was given for other outlines counts no more.
  function review(row) {
    const kept = reviews.read(reviews.key(data.study, row.dataset.id));
    return kept && { ...kept, outdated: Boolean(row.dataset.masks && kept.masks !== row.dataset.masks) };
  }

  const element = (name, className, textContent) => Object.assign(document.createElement(name), { className, textContent });

  function showReviews() {
    let count = 0, exported = 0;
    for (const row of rows) {
      const kept = review(row);
      const current = Boolean(kept) && !kept.outdated;
      const cell = row.querySelector("td.review");
      row.dataset.reviewed = current && kept.verdict ? "yes" : "no";
      cell.dataset.value = current ? kept.verdict ?? "" : "";
      cell.replaceChildren();
      if (!kept) continue;
      count += row.dataset.reviewed === "yes";
      exported += current;
      if (kept.outdated) cell.append(element("span", "comment", "reviewed, but on an earlier mask"));
      else {
        if (kept.verdict) cell.append(element("span", `mark ${String(kept.verdict).replace(/[^a-z]/gi, "")}`, kept.verdict));
        if (kept.note) cell.append(element("span", "comment", kept.note));
      }
    }
    byId("reviewed").textContent = count ? `${count} reviewed in this browser` : "none reviewed in this browser yet";
    byId("export").disabled = !exported;
    filterRows();
  }

  byId("export").addEventListener("click", () => {
    const current = rows.map((row) => ({ row, kept: review(row) })).filter(({ kept }) => kept && !kept.outdated);
    reviews.download(`verdicts-${data.study}.csv`, current.map(({ row, kept }) => ({
      ...kept, scan: row.dataset.id, mask_sha256: row.dataset.masks, model_sha256: "",
    })));
  });

  addEventListener("storage", showReviews);
  addEventListener("pageshow", showReviews);
  document.addEventListener("visibilitychange", showReviews);

  // Boxplots.
  const chooser = byId("metric");
  const chart = byId("chart");
  const FIRST_VALUE = 4; // a case: cohort, group, subject, comparison, values
  const looks = { "R-R": ["--box-raters", "circle"], "Auto-R": ["--box-single", "diamond"], "Auto-GT": ["--box-auto", "square"] };
  data.metrics.forEach((metric, index) => chooser.add(new Option(metric.label + (metric.unit ? `, ${metric.unit}` : ""), index)));

  function traces(metric) {
    return data.groups.map((group, place) => {
      const own = data.cases.filter((each) => each[1] === place && each[FIRST_VALUE + metric] !== null);
      const [colour, symbol] = looks[group];
      return {
        type: "box", name: group, boxpoints: "all", jitter: 0.5, pointpos: 0, boxmean: true,
        x: own.map((each) => data.cohorts[each[0]]),
        y: own.map((each) => each[FIRST_VALUE + metric]),
        customdata: own.map((each) => [data.subjects[each[2]][0], each[3], each[2]]),
        hovertemplate: "<b>sub-%{customdata[0]}</b>, %{customdata[1]}<br>%{y:.4g}<extra></extra>",
        hoveron: "points", line: { color: ink(colour), width: 1.5 }, fillcolor: faded(ink(colour)),
        marker: { color: ink(colour), symbol, size: 6, opacity: 0.75 },
      };
    });
  }

  const ink = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const faded = (colour) => `${colour}30`; // hexadecimal colour with its opacity

  function note(metric) {
    const absent = data.groups.flatMap((group, place) => data.cohorts.map((cohort, number) => {
      const own = data.cases.filter((each) => each[0] === number && each[1] === place);
      const undefinedCases = own.filter((each) => each[FIRST_VALUE + metric] === null).length;
      return undefinedCases ? `${undefinedCases} of ${own.length} ${group} (${cohort})` : "";
    })).filter(Boolean);
    return absent.length ? `Without a value, so not drawn: ${absent.join(", ")}.` : "";
  }

  function draw() {
    const metric = Number(chooser.value);
    const { label, unit, better } = data.metrics[metric];
    byId("metric-hint").textContent = better === "high" ? "higher is better" : "lower is better";
    byId("chart-note").textContent = note(metric);
    const narrow = chart.clientWidth < 560;
    const axis = { gridcolor: ink("--box-grid"), zerolinecolor: ink("--box-grid"), linecolor: ink("--text"), automargin: true };
    return Plotly.react(chart, traces(metric), {
      boxmode: "group", boxgap: 0.25, boxgroupgap: 0.2, hovermode: "closest", dragmode: false,
      height: narrow ? 360 : 440, margin: { l: 56, r: 12, t: 12, b: 40 },
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: ink("--text"), family: getComputedStyle(document.body).fontFamily, size: 14 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      xaxis: { ...axis, type: "category", categoryarray: data.cohorts, categoryorder: "array" },
      yaxis: { ...axis, title: { text: label + (unit ? ` (${unit})` : "") }, rangemode: unit ? "tozero" : "normal" },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  function start() {
    if (!window.Plotly) return;
    draw().then(() => {
      chart.on("plotly_click", (event) => {
        const page = data.subjects[event.points[0].customdata[2]][1];
        if (page) location.assign(page);
      });
      document.body.dataset.drawn = "yes";
    });
    chooser.addEventListener("change", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  recall();
  if (sorting.asked) sortRows();
  showReviews();
  // The library is large: it comes when the rest can be read.
  addEventListener("load", () => {
    const library = document.createElement("script");
    library.src = chart.dataset.library;
    library.onload = start;
    library.onerror = () => {
      chart.textContent = `The boxplots need the file ${chart.dataset.library}, which belongs beside this page.`;
    };
    setTimeout(() => document.head.append(library), 50);
  });
})();
