// A reviewer's verdicts, the same on all pages: kept in this browser with the hash of the mask that they were given
// for, and written to one format of CSV, which `review=` of segment and measure reads.

const reviews = {
  columns: ["scan", "verdict", "note", "reviewer", "date", "mask_sha256", "model_sha256"],

  key: (study, name) => `nerveseg-review:${study}:${name}`,

  read(key) {
    try {
      const kept = JSON.parse(localStorage.getItem(key));
      return kept && (kept.verdict || kept.note) ? kept : null;
    } catch { return null; }
  },

  // Returns false if this browser keeps nothing for files from a disk; an entry without a verdict and a note is removed.
  keep(key, entry) {
    try {
      if (entry && (entry.verdict || entry.note)) localStorage.setItem(key, JSON.stringify(entry));
      else localStorage.removeItem(key);
      return true;
    } catch { return false; }
  },

  reviewer(initials) {
    try {
      if (initials !== undefined) localStorage.setItem("nerveseg-reviewer", initials);
      return localStorage.getItem("nerveseg-reviewer") || "";
    } catch { return ""; }
  },

  // A text that a spreadsheet would compute gets an apostrophe before it, as in all tables of nerveseg.
  cell: (value) => `"${String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`,

  download(file, entries) {
    const lines = [reviews.columns, ...entries.map((entry) => reviews.columns.map((name) => entry[name]))];
    const text = "\ufeff" + lines.map((line) => line.map(reviews.cell).join(",")).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
    link.download = file.replace(/[^\w.-]+/g, "_");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },
};
