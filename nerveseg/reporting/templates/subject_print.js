// On paper: a strip of slices around the nerve, and pictures and curves of the paper's width in light colours.

const TILES = 8, TILE = 330;
const strip = {room: byId("strip"), tiles: []};

// Evenly spread slices with nerve, or of the whole stack where there is none.
function spread(count) {
  const filled = data.masks.length ? data.numbers.map((_, i) => i).filter((i) => data.masks[0].outlines[i].length) : [];
  const from = filled.length ? filled : data.numbers.map((_, i) => i), many = Math.min(count, from.length);
  return Array.from({length: many}, (_, i) => from[Math.round(i * (from.length - 1) / Math.max(1, many - 1))]);
}

function drawTile(tile) {
  const {canvas, look, index} = tile, pen = canvas.getContext("2d"), at = place(TILE, TILE, look, index);
  canvas.width = canvas.height = TILE;
  const known = greys(channel().pictures[index], () => drawTile(tile)), write = writer(pen);
  pen.fillRect(0, 0, TILE, TILE);
  if (known) drawPicture(pen, windowed(known), at, data.size);
  if (viewer.overlayShown) drawMasks(pen, at, (mask) => mask.outlines[index]);
  pen.font = "600 22px system-ui, sans-serif";
  write(`${look >= 0 && data.looks[look].side ? `${data.looks[look].side}, ` : ""}slice ${data.numbers[index]}`, 8, 22, "left", 28);
}

function drawStrip() {
  const looks = data.looks.length ? data.looks.map((_, look) => look).reverse() : [-1];
  strip.room.replaceChildren();
  strip.tiles = looks.flatMap((look) => spread(TILES / looks.length).map((index) => {
    const canvas = document.createElement("canvas");
    strip.room.append(canvas);
    return {canvas, look, index};
  }));
  strip.tiles.forEach(drawTile);
}

function setOut(onPaper) {
  document.documentElement.classList.toggle("printing", onPaper);
  draw();
  if (!window.Plotly) return;
  for (const {plan, chart} of curves.drawn) {
    drawCurve(plan, chart);
    if (!onPaper) Plotly.Plots.resize(chart);
  }
}

window.addEventListener("beforeprint", () => {
  drawStrip();
  setOut(true);
});
window.addEventListener("afterprint", () => setOut(false));
// Pictures take time to load, and a print does not wait for them; those of another channel load once it is chosen.
window.addEventListener("load", () => setTimeout(drawStrip, 500));
