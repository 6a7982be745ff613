// Grey values of the channels: window and level, the value under the pointer, and the distance tool.

const pixels = {
  channel: 0, loaded: {}, pointed: null, ruler: null, measuring: false, drag: null,
  windows: data.channels.map(({window: [black, white]}) => [black, white]),
};
const channel = () => data.channels[pixels.channel];

// The grey values of a picture as {grey, columns, rows}, once it is loaded; `ready` is called then.
function greys(address, ready) {
  const known = pixels.loaded[address];
  if (known && known.grey) return known;
  if (known) {
    known.waiting.add(ready);
    return null;
  }
  const image = new Image(), waiting = new Set([ready]);
  pixels.loaded[address] = {waiting};
  image.addEventListener("load", () => {
    const canvas = document.createElement("canvas"), [columns, rows] = [image.naturalWidth, image.naturalHeight];
    [canvas.width, canvas.height] = [columns, rows];
    const pen = canvas.getContext("2d", {willReadFrequently: true});
    pen.drawImage(image, 0, 0);
    const colours = pen.getImageData(0, 0, columns, rows).data, grey = new Uint8Array(columns * rows);
    for (let i = 0; i < grey.length; i++) grey[i] = colours[4 * i];
    pixels.loaded[address] = {grey, columns, rows};
    waiting.forEach((call) => call());
  });
  image.src = address;
  return null;
}

// A canvas with grey values in the window of the channel.
function windowed({grey, columns, rows}) {
  const {low, step} = channel(), [black, white] = pixels.windows[pixels.channel];
  const tones = Uint8ClampedArray.from({length: 256}, (_, value) =>
    white > black ? 255 * (low + step * value - black) / (white - black) : low + step * value > black ? 255 : 0);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const pen = canvas.getContext("2d"), picture = pen.createImageData(columns, rows);
  for (let i = 0; i < grey.length; i++) {
    picture.data[4 * i] = picture.data[4 * i + 1] = picture.data[4 * i + 2] = tones[grey[i]];
    picture.data[4 * i + 3] = 255;
  }
  pen.putImageData(picture, 0, 0);
  return canvas;
}

const digits = () => Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(channel().step || 1))));
const inWords = (value) => Number(value.toFixed(digits())).toString();

function valueInWords(grey) {
  const {low, step, error, partial} = channel(), value = low + step * grey;
  if (grey === 0) return `at most ${inWords(value)}${partial ? ", or outside the field of view" : ""}`;
  return grey === 255 ? `at least ${inWords(value)}` : `${inWords(value)} ± ${Number(error.toPrecision(2))}`;
}

function positionInWords(column, row) {
  if (!data.place) return "";
  const {corners, across, down} = data.place, corner = corners[shown.index];
  const mm = corner.map((value, axis) => value + column * across[axis] + row * down[axis]);
  return "; " + mm.map((value, axis) => `${["LR", "PA", "IS"][axis][Number(value >= 0)]} ${Math.abs(value).toFixed(1)}`).join(", ") + " mm";
}

function showValue() {
  const known = greys(channel().pictures[shown.index], showValue), [columns, rows] = data.size;
  if (!pixels.pointed || !known) return;
  const [column, row] = pixels.pointed.map(Math.floor);
  if (column < 0 || row < 0 || column >= columns || row >= rows) {
    byId("readout").textContent = "Outside the image.";
    return;
  }
  const at = Math.floor(row * known.rows / rows) * known.columns + Math.floor(column * known.columns / columns);
  byId("readout").textContent = `${channel().name}: ${valueInWords(known.grey[at])}; column ${column}, row ${row}, ` +
    `slice ${data.numbers[shown.index]}${positionInWords(column, row)}`;
}

function setWindow(width, level) {
  if (!Number.isFinite(width) || !Number.isFinite(level)) return;
  pixels.windows[pixels.channel] = [level - Math.max(0, width) / 2, level + Math.max(0, width) / 2];
  draw();
}

function showWindow() {
  const [black, white] = pixels.windows[pixels.channel];
  byId("window").value = inWords(white - black);
  byId("level").value = inWords((black + white) / 2);
}

const length = ([[x0, y0], [x1, y1]]) => Math.hypot((x1 - x0) * data.pixel_mm[0], (y1 - y0) * data.pixel_mm[1]);

function drawRuler(pen, at, write) {
  if (!pixels.ruler || pixels.ruler.index !== shown.index) return;
  const [from, to] = pixels.ruler.ends.map(([column, row]) => [at.left + at.x * column, at.top + at.y * row]);
  for (const [ink, width] of [["#000", 4], ["#ffd54a", 2]]) {
    pen.strokeStyle = ink;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    for (const [x, y] of [from, to]) {
      pen.moveTo(x + 4, y);
      pen.arc(x, y, 4, 0, 2 * Math.PI);
    }
    pen.stroke();
  }
  write(`${length(pixels.ruler.ends).toFixed(1)} mm`, (from[0] + to[0]) / 2, Math.min(from[1], to[1]) - 8, "center");
}

function switchRuler() {
  pixels.measuring = !pixels.measuring;
  byId("ruler").setAttribute("aria-pressed", String(pixels.measuring));
  byId("viewer").classList.toggle("measuring", pixels.measuring);
}

function removeRuler() {
  pixels.ruler = null;
  draw();
}
