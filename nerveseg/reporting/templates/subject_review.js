// The form for the reviewer's verdict on this page's mask.

const review = {form: byId("review"), key: reviews.key(data.study, data.name)};

function entries() {
  const {verdict, note, reviewer} = review.form.elements;
  return {verdict: verdict.value, note: note.value.trim(), reviewer: reviewer.value.trim()};
}

function keep() {
  const entry = {...entries(), date: new Date().toISOString(), masks: data.digest};
  reviews.reviewer(entry.reviewer);
  say(!reviews.keep(review.key, entry) ? "This browser keeps nothing for files from a disk: download the CSV before you leave."
    : entry.verdict ? `Kept in this browser: ${entry.verdict}.`
    : entry.note ? "Kept in this browser, without a verdict." : "Nothing kept.");
}

function say(text) {
  byId("kept").textContent = text;
}

function fill(entry) {
  for (const name of ["verdict", "note", "reviewer"]) review.form.elements[name].value = entry[name] || "";
}

function download() {
  const kept = reviews.read(review.key) || {date: new Date().toISOString()};
  const hashes = {mask_sha256: data.digest, model_sha256: data.model};
  reviews.download(`verdicts-${data.name}.csv`, [{scan: data.name, ...entries(), date: kept.date, ...hashes}]);
}

review.form.addEventListener("input", keep);
review.form.addEventListener("submit", (event) => event.preventDefault());
byId("download").addEventListener("click", download);
byId("forget").addEventListener("click", () => {
  fill({reviewer: reviews.reviewer()});
  say(reviews.keep(review.key, null) ? "Cleared." : "Cleared on this page.");
});

const before = reviews.read(review.key);
if (before && before.masks === data.digest) {
  fill(before);
  say(`Kept in this browser since ${before.date.slice(0, 10)}${before.verdict ? `: ${before.verdict}` : ""}.`);
} else {
  fill({reviewer: reviews.reviewer()});
  if (before) say(`An earlier verdict (${before.verdict || "none"}, ${before.date.slice(0, 10)}) was on an earlier mask. Give a new one.`);
}
