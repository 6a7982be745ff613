// The study page: filters of the subjects, reviews kept by the subject pages, boxplots.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const filters = { text: byId("filter-text"), cohort: byId("filter-cohort"), location: byId("filter-location"), kind: byId("filter-kind") };
  const kinds = {
    flagged: (row) => Number(row.dataset.flags) > 0,
    failed: (row) => "failed" in row.dataset,
    reviewed: (row) => row.dataset.reviewed === "yes",
    unreviewed: (row) => row.dataset.reviewed !== "yes",
  };

  const fits = (row) =>
    (!filters.cohort?.value || row.dataset.cohort === filters.cohort.value) &&
    (!filters.location?.value || row.dataset.location === filters.location.value) &&
    (!filters.kind.value || kinds[filters.kind.value](row));

  const { rows, filterRows } = listTable({
    table: byId("subject-table"), key: `nerveseg-table:${data.study}`, form: byId("filters"), filters, fits, noun: "subjects",
  });

  // Reviews, as the subject pages keep them; one that was given for other outlines counts no more.
  function review(row) {
    const { id, mask } = row.dataset, scan = `${data.study}:${id}`, own = reviews.read(scan, mask);
    if (own) return own;
    const latest = reviews.read(scan);
    return latest && { ...latest, outdated: true };
  }

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
      ...kept, scan: row.dataset.id, mask_sha256: row.dataset.mask, model_sha256: "",
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
