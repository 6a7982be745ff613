// A reviewer's verdicts, the same on all pages: kept in this browser with the hash of the mask that they were given
// for, and written to one format of CSV, which `review=` of segment and measure reads.

const reviews = {
  columns: ["scan", "verdict", "note", "reviewer", "date", "mask_sha256", "model_sha256"],

  // Texts that the browser refuses to keep, for instance with storage switched off; they last until the page is closed.
  unkept: new Map(),

  load(key) {
    if (reviews.unkept.has(key)) return reviews.unkept.get(key);
    try { return localStorage.getItem(key); } catch { return null; }
  },

  // Returns false if the text lasts only until the page is closed.
  store(key, text) {
    reviews.unkept.delete(key);
    try {
      if (text) localStorage.setItem(key, text);
      else localStorage.removeItem(key);
      return true;
    } catch {
      reviews.unkept.set(key, text);
      return false;
    }
  },

  // Keys of the verdict on a mask of a scan, and of the latest verdict on any of its masks.
  key: (scan, mask) => `nerveseg-review:${scan}${mask ? `:${mask}` : ""}`,

  // The verdict on a mask; without a mask, the latest verdict on the scan.
  read(scan, mask) {
    try {
      const entry = JSON.parse(reviews.load(reviews.key(scan, mask)));
      return entry && (entry.verdict || entry.note) ? entry : null;
    } catch { return null; }
  },

  // Returns false if this browser keeps nothing for files from a disk; an entry without a verdict and a note is removed.
  keep(scan, mask, entry) {
    const text = entry && (entry.verdict || entry.note) ? JSON.stringify({...entry, mask}) : null;
    const kept = reviews.store(reviews.key(scan, mask), text);
    if (mask && (text || reviews.read(scan)?.mask === mask)) reviews.store(reviews.key(scan), text);
    return kept;
  },

  reviewer(initials) {
    if (initials !== undefined) reviews.store("nerveseg-reviewer", initials);
    return reviews.load("nerveseg-reviewer") || "";
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
