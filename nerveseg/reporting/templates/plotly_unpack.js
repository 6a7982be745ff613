// Unpacks the chart library that lies compressed in the page.
"use strict";
(async () => {
  try {
    const packed = document.getElementById("plotly-packed");
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    packed.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const library = document.createElement("script");
    library.textContent = await new Response(stream).text();
    document.head.append(library);
    window.dispatchEvent(new Event(window.Plotly ? "plotly-ready" : "plotly-failed"));
  } catch {
    window.dispatchEvent(new Event("plotly-failed"));
  }
})();
