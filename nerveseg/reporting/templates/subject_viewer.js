// The slice viewer: the picture on one canvas, outlines, letters and the scale on another, so that grey levels change
// without a new drawing.

const viewer = {
  box: byId("viewer"), image: byId("image"), overlay: byId("overlay"),
  look: -1, overlayShown: true, manner: "lines", opacity: 1, uncertainty: false, loaded: {},
  masks: data.masks.map((mask) => mask.shown),
};

// A picture of a slice, drawn again once it is loaded.
function picture(index, pictures = data.pictures) {
  const address = pictures[index];
  if (!viewer.loaded[address]) {
    const image = new Image();
    image.addEventListener("load", () => { if (pictures[shown.index] === address) draw(); });
    image.src = address;
    viewer.loaded[address] = image;
  }
  return viewer.loaded[address];
}

// The part of the slice in the viewer: pixels of the slice to pixels of the screen.
function place(width, height) {
  const [columns, rows] = data.size, [across, along] = data.pixel_mm;
  if (viewer.look < 0) {
    const scale = Math.min(width / (columns * across), height / (rows * along));
    return {x: scale * across, y: scale * along, mm: scale,
      left: (width - scale * across * columns) / 2, top: (height - scale * along * rows) / 2};
  }
  const look = data.looks[viewer.look], scale = Math.min(width, height) / look.mm, [column, row] = look.centres[shown.index];
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
  drawPicture(viewer.image.getContext("2d"), picture(shown.index), at);
  if (viewer.overlayShown && viewer.uncertainty) {
    pen.globalAlpha = viewer.opacity;
    drawPicture(pen, picture(shown.index, data.uncertainty.pictures), at);
    pen.globalAlpha = 1;
  }
  if (viewer.overlayShown) drawMasks(pen, at);
  drawScale(pen, at, width, height);
  [shown.index + 1, shown.index - 1].filter((index) => index in data.pictures).forEach((index) => picture(index));
}

function drawPicture(pen, source, at) {
  const [columns, rows] = data.size;
  if (!source.complete || !source.naturalWidth) return;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, at.left, at.top, at.x * columns, at.y * rows);
}

function drawMasks(pen, at) {
  pen.save();
  pen.globalAlpha = viewer.opacity;
  const drawn = data.masks.map((mask, number) => ({...mask, number})).sort((a, b) => b.inside - a.inside);
  drawn.forEach((mask) => {
    if (!viewer.masks[mask.number]) return;
    const path = new Path2D();
    for (const outline of mask.outlines[shown.index]) {
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

function drawScale(pen, at, width, height) {
  const mm = [1, 2, 5, 10, 20, 50, 100].filter((length) => length * at.mm <= 0.3 * width).pop() || 1;
  const right = width - 12, left = right - mm * at.mm, bottom = height - 12;
  pen.font = "600 13px system-ui, sans-serif";
  const write = (text, x, y, align) => {
    const long = pen.measureText(text).width + 8;
    pen.fillStyle = "rgba(0, 0, 0, 0.6)";
    pen.fillRect(align === "left" ? x - 4 : align === "right" ? x - long + 4 : x - long / 2, y - 14, long, 19);
    pen.fillStyle = "#fff";
    pen.textAlign = align;
    pen.fillText(text, x, y);
  };
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
}

function greyLevels() {
  viewer.image.style.filter = `brightness(${byId("brightness").value}%) contrast(${byId("contrast").value}%)`;
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
};

viewer.box.addEventListener("keydown", (event) => {
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
viewer.box.addEventListener("wheel", (event) => {
  if (event.ctrlKey) return;
  event.preventDefault();
  showSlice(shown.index - up * Math.sign(event.deltaY));
}, {passive: false});
viewer.box.addEventListener("pointerdown", () => viewer.box.focus({preventScroll: true}));

byId("shown").addEventListener("click", switchOverlay);
byId("opacity").addEventListener("input", (event) => { viewer.opacity = event.target.value / 100; draw(); });
for (const id of ["brightness", "contrast"]) byId(id).addEventListener("input", greyLevels);
byId("reset").addEventListener("click", () => { byId("brightness").value = byId("contrast").value = 100; greyLevels(); });
choose("[data-look]", (button) => { viewer.look = Number(button.dataset.look); draw(); });
choose("[data-manner]", (button) => { viewer.manner = button.dataset.manner; draw(); });
all("[data-mask]").forEach((box) => box.addEventListener("change", () => {
  viewer.masks[Number(box.dataset.mask)] = box.checked;
  draw();
}));

byId("uncertainty")?.addEventListener("change", (event) => { viewer.uncertainty = event.target.checked; draw(); });

shown.followers.push(draw);
new ResizeObserver(draw).observe(viewer.box);
