// The reviewer's verdict: kept in this browser with the masks it was given for, and written to a file on request.

const review = {form: byId("review"), key: `nerveseg-review:${data.study}:${data.name}`};

function entries() {
  const {verdict, comment, reviewer} = review.form.elements;
  return {verdict: verdict.value, comment: comment.value.trim(), reviewer: reviewer.value.trim()};
}

function keep() {
  const entry = {...entries(), date: new Date().toISOString(), masks: data.digest};
  try {
    localStorage.setItem(review.key, JSON.stringify(entry));
    say(entry.verdict ? `Kept in this browser: ${entry.verdict}.` : "Kept in this browser, without a verdict.");
  } catch {
    say("This browser keeps nothing for files from a disk: download the CSV before you leave.");
  }
  return entry;
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(review.key));
  } catch {
    return null;
  }
}

function say(text) {
  byId("kept").textContent = text;
}

function fill(entry) {
  for (const name of ["verdict", "comment", "reviewer"]) review.form.elements[name].value = entry[name] || "";
}

const cell = (text) => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

function download() {
  const entry = entries(), date = (kept() || {}).date || new Date().toISOString();
  const rows = [["name", "verdict", "comment", "reviewer", "date"], [data.name, entry.verdict, entry.comment, entry.reviewer, date]];
  const text = rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = `review-${data.name.replace(/[^\w.-]+/g, "_")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

review.form.addEventListener("input", keep);
review.form.addEventListener("submit", (event) => event.preventDefault());
byId("download").addEventListener("click", download);
byId("forget").addEventListener("click", () => {
  fill({});
  try { localStorage.removeItem(review.key); } catch { /* nothing was kept */ }
  say("Cleared.");
});

const before = kept();
if (before && before.masks === data.digest) {
  fill(before);
  say(`Kept in this browser since ${before.date.slice(0, 10)}${before.verdict ? `: ${before.verdict}` : ""}.`);
} else if (before) {
  say(`An earlier verdict (${before.verdict || "none"}, ${before.date.slice(0, 10)}) was on other outlines. Give a new one.`);
}
