// The views along the nerve, all in one scale of mm. The orange line is the slice shown; a click shows another one.

const reformats = {
  boxes: all("[data-reformat]").map((canvas) => ({canvas, number: Number(canvas.dataset.reformat), drawn: {}})),
  room: document.querySelector(".reformats"), tallest: 420, scale: 0,
};
const MARK = "#ffb066";
const millimetres = ({size: [columns, rows], pixel_mm: mm}) => [columns * mm, rows * mm];

// Screen pixels per mm, so that the views of a leg stand beside each other, or on a small screen below; on paper of both.
function scaleOf(room) {
  const sizes = data.reformats.map(millimetres), legs = new Set(data.reformats.map((one) => one.side));
  const beside = Math.max(...[...legs].map((side) =>
    sizes.filter((_, i) => data.reformats[i].side === side).reduce((sum, [wide]) => sum + wide, 0)));
  if (printing()) return Math.min(0.9 * reformats.tallest / Math.max(...sizes.map(([, tall]) => tall)),
    (room - 50 * legs.size) / sizes.reduce((sum, [wide]) => sum + wide, 0));
  const widest = room >= 560 ? beside : Math.max(...sizes.map(([wide]) => wide));
  return Math.min((room >= 560 ? reformats.tallest : 300) / Math.max(...sizes.map(([, tall]) => tall)), (room - 32) / widest);
}

// The picture in the window of the channel; kept, since most changes are of the slice alone.
function inWindow(box) {
  const address = channel().reformats[box.number], known = greys(address, drawReformats);
  const key = `${address.length}:${pixels.channel}:${pixels.windows[pixels.channel]}`;
  if (known && box.drawn.key !== key) box.drawn = {key, canvas: windowed(known)};
  return known && box.drawn.canvas;
}

function drawReformat(box) {
  const view = data.reformats[box.number], [wide, tall] = millimetres(view).map((mm) => mm * reformats.scale);
  const sharp = Math.max(2, window.devicePixelRatio || 1), pen = box.canvas.getContext("2d");
  [box.canvas.style.width, box.canvas.style.height] = [`${wide}px`, `${tall}px`];
  [box.canvas.width, box.canvas.height] = [Math.round(wide * sharp), Math.round(tall * sharp)];
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  const step = view.pixel_mm * reformats.scale, at = {left: 0, top: 0, x: step, y: step};
  const picture = inWindow(box);
  if (picture) drawPicture(pen, picture, at, view.size);
  if (viewer.overlayShown) drawMasks(pen, at, (mask) => view.outlines[mask.number]);
  const height = step * view.rows[shown.index], write = writer(pen);
  for (const [ink, width] of [["#000", 3], [MARK, 1.5]]) {
    [pen.strokeStyle, pen.lineWidth] = [ink, width];
    pen.beginPath();
    for (const [from, to] of [[0, 0.15], [0.85, 1]]) {
      pen.moveTo(from * wide, height);
      pen.lineTo(to * wide, height);
    }
    pen.stroke();
  }
  if (wide > 140) drawBar(pen, wide, tall, write);
  write(view.letters[0], 6, tall / 2 + 5, "left");
  write(view.letters[1], wide - 6, tall / 2 + 5, "right");
  write("H", wide / 2, 16, "center");
  write("F", wide / 2, tall - 7, "center");
}

function drawBar(pen, wide, tall, write) {
  const long = 20 * reformats.scale;
  pen.fillStyle = "#fff";
  pen.fillRect(wide - 8 - long, tall - 8, long, 3);
  write("20 mm", wide - 8, tall - 14, "right");
}

function drawReformats() {
  if (!reformats.room) return;
  const {width} = reformats.room.getBoundingClientRect();
  if (!width) return;
  reformats.scale = scaleOf(width);
  reformats.boxes.forEach(drawReformat);
}

function showRow(box, event) {
  const {top} = box.canvas.getBoundingClientRect(), view = data.reformats[box.number];
  const row = (event.clientY - top) / (view.pixel_mm * reformats.scale);
  const away = view.rows.map((own) => Math.abs(own - row));
  showSlice(away.indexOf(Math.min(...away)));
}

for (const box of reformats.boxes) {
  box.canvas.addEventListener("pointerdown", (event) => {
    showRow(box, event);
    if (event.pointerType !== "touch") box.canvas.setPointerCapture(event.pointerId);
  });
  box.canvas.addEventListener("pointermove", (event) => {
    if (box.canvas.hasPointerCapture(event.pointerId)) showRow(box, event);
  });
}

viewer.followers.push(drawReformats);
if (reformats.room) new ResizeObserver(drawReformats).observe(reformats.room);
