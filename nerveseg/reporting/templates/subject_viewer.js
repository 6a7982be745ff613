// The slice viewer: the picture on one canvas, outlines, letters, the distance and the scale on another.

const viewer = {
  box: byId("viewer"), image: byId("image"), overlay: byId("overlay"),
  look: -1, overlayShown: true, manner: "lines", opacity: 1, uncertainty: false, loaded: {},
  masks: data.masks.map((mask) => mask.shown), followers: [],
};

// A picture of the uncertainty in a slice, drawn again once it is loaded.
function uncertainty(index) {
  const pictures = data.uncertainty.pictures, address = pictures[index];
  if (!viewer.loaded[address]) {
    const image = new Image();
    image.addEventListener("load", () => { if (pictures[shown.index] === address) draw(); });
    image.src = address;
    viewer.loaded[address] = image;
  }
  return viewer.loaded[address];
}

// The part of the slice in the viewer: pixels of the slice to pixels of the screen.
function place(width, height, look = viewer.look, index = shown.index) {
  const [columns, rows] = data.size, [across, along] = data.pixel_mm;
  if (look < 0) {
    const scale = Math.min(width / (columns * across), height / (rows * along));
    return {x: scale * across, y: scale * along, mm: scale,
      left: (width - scale * across * columns) / 2, top: (height - scale * along * rows) / 2};
  }
  const {mm, centres} = data.looks[look], scale = Math.min(width, height) / mm, [column, row] = centres[index];
  return {x: scale * across, y: scale * along, mm: scale,
    left: width / 2 - column * across * scale, top: height / 2 - row * along * scale};
}

function draw() {
  const {width, height} = viewer.box.getBoundingClientRect(), sharp = window.devicePixelRatio || 1;
  if (!width || !height) return;
  for (const canvas of [viewer.image, viewer.overlay]) {
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    canvas.getContext("2d").setTransform(sharp, 0, 0, sharp, 0, 0);
  }
  const at = place(width, height), pen = viewer.overlay.getContext("2d");
  const known = greys(channel().pictures[shown.index], draw);
  if (known) drawPicture(viewer.image.getContext("2d"), windowed(known), at, data.size);
  if (viewer.overlayShown && viewer.uncertainty) {
    pen.globalAlpha = viewer.opacity;
    drawPicture(pen, uncertainty(shown.index), at, data.size);
    pen.globalAlpha = 1;
  }
  if (viewer.overlayShown) drawMasks(pen, at, (mask) => mask.outlines[shown.index]);
  drawScale(pen, at, width, height);
  showValue();
  showWindow();
  const near = [shown.index + 1, shown.index - 1].filter((index) => index in data.numbers);
  near.forEach((index) => greys(channel().pictures[index], () => {}));
  viewer.followers.forEach((follow) => follow());
}

function drawPicture(pen, source, at, [columns, rows]) {
  if (source.complete === false || source.naturalWidth === 0) return;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, at.left, at.top, at.x * columns, at.y * rows);
}

function drawMasks(pen, at, outlinesOf) {
  pen.save();
  pen.globalAlpha = viewer.opacity;
  const drawn = data.masks.map((mask, number) => ({...mask, number})).sort((a, b) => b.inside - a.inside);
  drawn.forEach((mask) => {
    if (!viewer.masks[mask.number]) return;
    const path = new Path2D();
    for (const outline of outlinesOf(mask)) {
      for (let i = 0; i < outline.length; i += 2) {
        const x = at.left + at.x * outline[i] / 2, y = at.top + at.y * outline[i + 1] / 2;
        if (i) path.lineTo(x, y); else path.moveTo(x, y);
      }
      path.closePath();
    }
    pen.strokeStyle = pen.fillStyle = `rgb(${mask.colour})`;
    if (viewer.manner === "fill" || mask.inside) {
      pen.globalAlpha = (viewer.manner === "fill" ? 0.5 : 0.25) * viewer.opacity;
      pen.fill(path, "evenodd");
      pen.globalAlpha = viewer.opacity;
    }
    pen.lineWidth = viewer.manner === "fill" || mask.inside ? 1.2 : 2;
    pen.setLineDash(mask.dash);
    pen.stroke(path);
  });
  pen.restore();
}

// A function that writes white text on a dark ground.
function writer(pen) {
  pen.font = "600 13px system-ui, sans-serif";
  return (text, x, y, align, tall = 19) => {
    const long = pen.measureText(text).width + 8;
    pen.fillStyle = "rgba(0, 0, 0, 0.6)";
    pen.fillRect(align === "left" ? x - 4 : align === "right" ? x - long + 4 : x - long / 2, y - 0.75 * tall, long, tall);
    pen.fillStyle = "#fff";
    pen.textAlign = align;
    pen.fillText(text, x, y);
  };
}

function drawScale(pen, at, width, height) {
  const mm = [1, 2, 5, 10, 20, 50, 100].filter((length) => length * at.mm <= 0.3 * width).pop() || 1;
  const right = width - 12, left = right - mm * at.mm, bottom = height - 12, write = writer(pen);
  for (const [colour, thickness] of [["#000", 5], ["#fff", 3]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thickness;
    pen.beginPath();
    pen.moveTo(left, bottom);
    pen.lineTo(right, bottom);
    pen.stroke();
  }
  write(`${mm} mm`, (left + right) / 2, bottom - 7, "center");
  write("R", 8, height / 2 + 5, "left");
  write("L", width - 8, height / 2 + 5, "right");
  write("A", width / 2, 18, "center");
  write("P", width / 2, height - 8, "center");
  write(`slice ${data.numbers[shown.index]}`, 8, 18, "left");
  if (data.channels.length > 1) write(channel().name, 8, 40, "left");
  drawRuler(pen, at, write);
}

// The place under the pointer, in columns and rows of the slice.
function pointed(event) {
  const {left, top, width, height} = viewer.box.getBoundingClientRect(), at = place(width, height);
  return [(event.clientX - left - at.left) / at.x, (event.clientY - top - at.top) / at.y];
}

function switchOverlay() {
  viewer.overlayShown = !viewer.overlayShown;
  byId("shown").setAttribute("aria-pressed", String(viewer.overlayShown));
  draw();
}

function next(selector) {
  const buttons = all(selector), pressed = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
  buttons[(pressed + 1) % buttons.length].click();
}

// Up is towards the head, whichever way the file counts; left is the lower number, as on the slider.
const up = data.levels_mm[0] <= data.levels_mm[data.levels_mm.length - 1] ? 1 : -1;
const keys = {
  ArrowLeft: () => showSlice(shown.index - 1), ArrowDown: () => showSlice(shown.index - up),
  ArrowRight: () => showSlice(shown.index + 1), ArrowUp: () => showSlice(shown.index + up),
  PageDown: () => showSlice(shown.index - 5 * up), PageUp: () => showSlice(shown.index + 5 * up),
  Home: () => showSlice(0), End: () => showSlice(data.numbers.length - 1),
  o: switchOverlay, c: () => next("[data-manner]"), z: () => next("[data-look]"),
  d: switchRuler, Escape: removeRuler,
};

const FOCUS_ONLY = ["PageDown", "PageUp", "Home", "End"];

// Keys work without focus while the picture is on the screen, unless a field takes them.
window.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, focused = event.target === viewer.box;
  const act = keys[key] || (Number(key) && all("[data-channel]")[key - 1] && (() => all("[data-channel]")[key - 1].click()));
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const {top, bottom} = viewer.box.getBoundingClientRect(), seen = bottom > 0 && top < window.innerHeight;
  const elsewhere = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (!focused && (elsewhere || !seen || FOCUS_ONLY.includes(key))) return;
  event.preventDefault();
  act();
});
viewer.box.addEventListener("wheel", (event) => {
  if (event.ctrlKey) return;
  event.preventDefault();
  showSlice(shown.index - up * Math.sign(event.deltaY));
}, {passive: false});
viewer.box.addEventListener("pointerdown", (event) => {
  viewer.box.focus({preventScroll: true});
  pixels.pointed = pointed(event);
  showValue();
  if (event.button || (event.pointerType === "touch" && !pixels.measuring)) return;
  const [black, white] = pixels.windows[pixels.channel];
  pixels.drag = {x: event.clientX, y: event.clientY, width: white - black, level: (black + white) / 2, from: pixels.pointed};
  viewer.box.setPointerCapture(event.pointerId);
});
viewer.box.addEventListener("pointermove", (event) => {
  pixels.pointed = pointed(event);
  showValue();
  if (!pixels.drag) return;
  const {x, y, width, level, from} = pixels.drag, full = 255 * channel().step / 400;
  if (pixels.measuring) {
    pixels.ruler = {index: shown.index, ends: [from, pixels.pointed]};
    draw();
  } else {
    setWindow(Math.max(channel().step, width + full * (event.clientX - x)), level + full * (event.clientY - y));
  }
});
for (const end of ["pointerup", "pointercancel"]) viewer.box.addEventListener(end, () => { pixels.drag = null; });

byId("shown").addEventListener("click", switchOverlay);
byId("opacity").addEventListener("input", (event) => { viewer.opacity = event.target.value / 100; draw(); });
for (const id of ["window", "level"]) {
  byId(id).addEventListener("change", () => setWindow(Number(byId("window").value), Number(byId("level").value)));
}
byId("reset").addEventListener("click", () => { pixels.windows[pixels.channel] = [...channel().window]; draw(); });
byId("ruler").addEventListener("click", switchRuler);
choose("[data-channel]", (button) => { pixels.channel = Number(button.dataset.channel); draw(); drawStrip(); });
choose("[data-look]", (button) => { viewer.look = Number(button.dataset.look); draw(); });
choose("[data-manner]", (button) => { viewer.manner = button.dataset.manner; draw(); });
all("[data-mask]").forEach((box) => box.addEventListener("change", () => {
  viewer.masks[Number(box.dataset.mask)] = box.checked;
  draw();
}));

byId("uncertainty")?.addEventListener("change", (event) => { viewer.uncertainty = event.target.checked; draw(); });

shown.followers.push(draw);
new ResizeObserver(draw).observe(viewer.box);
