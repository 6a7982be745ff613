// The form for the reviewer's verdict on this page's mask.

const form = byId("review");

// What the form holds.
function filled() {
  const {verdict, note, reviewer} = form.elements;
  return {verdict: verdict.value, note: note.value.trim(), reviewer: reviewer.value.trim()};
}

function fill(entry) {
  for (const name of ["note", "reviewer"]) form.elements[name].value = entry[name] || "";
  for (const radio of form.elements.verdict) radio.checked = radio.value === entry.verdict;
  showDownload();
}

// A row with neither a verdict nor a note is no verdict, and `review=` refuses it.
function showDownload() {
  const {verdict, note} = filled();
  byId("download").disabled = !verdict && !note;
}

function keepVerdict() {
  const entry = {...filled(), date: new Date().toISOString()};
  reviews.reviewer(entry.reviewer);
  showDownload();
  say(!reviews.keep(data.scan, data.mask, entry) ? "This browser keeps nothing for files from a disk: download the CSV before you leave."
    : entry.verdict ? `Kept in this browser: ${entry.verdict}.`
    : entry.note ? "Kept in this browser, without a verdict." : "Nothing kept.");
}

function say(text) {
  byId("kept").textContent = text;
}

function download() {
  const {date} = reviews.read(data.scan, data.mask) || {date: new Date().toISOString()};
  const hashes = {mask_sha256: data.mask, model_sha256: data.model};
  reviews.download(`verdicts-${data.name}.csv`, [{scan: data.name, ...filled(), date, ...hashes}]);
}

form.addEventListener("input", keepVerdict);
form.addEventListener("submit", (event) => event.preventDefault());
byId("download").addEventListener("click", download);
byId("forget").addEventListener("click", () => {
  fill({reviewer: reviews.reviewer()});
  say(reviews.keep(data.scan, data.mask, null) ? "Cleared." : "Cleared on this page.");
});

const before = reviews.read(data.scan, data.mask), latest = reviews.read(data.scan);
fill(before || {reviewer: reviews.reviewer()});
if (before) say(`Kept in this browser since ${before.date.slice(0, 10)}${before.verdict ? `: ${before.verdict}` : ""}.`);
else if (latest) {
  byId("kept").dataset.other = latest.mask;
  say(`A verdict (${latest.verdict || "none"}, ${latest.date.slice(0, 10)}) was on another mask of this scan. Give a new one.`);
}
