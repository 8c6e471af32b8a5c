"use strict";
(() => {
  document.documentElement.classList.add("js");
  const holder = document.getElementById("plot-data");
  const content = holder ? JSON.parse(holder.textContent) : { plots: {}, themes: {} };
  const places = [...document.querySelectorAll("[data-plot]")];
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const EAGER = 60;
  let printing = false;
  let library = null;

  for (const place of places) {
    place.style.minHeight = `${place.dataset.height}px`;
    place.dataset.state = "waiting";
  }

  // The library travels compressed: unpack it, and run it as a script whose hash the page's policy names.
  function load() {
    library ??= (async () => {
      if (typeof DecompressionStream === "undefined") throw new Error("the browser is too old");
      const packed = document.getElementById("plot-library").textContent;
      const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      if (!window.Plotly) throw new Error("the library did not start");
    })();
    return library;
  }

  function themed(figure) {
    const theme = content.themes[dark.matches && !printing ? "dark" : "light"];
    const data = structuredClone(figure.data);
    const layout = structuredClone(figure.layout);
    for (const trace of data) {
      if (trace.type === "heatmap") {
        trace.colorbar.tickfont = { color: theme.muted };
        trace.colorbar.title.font = { color: theme.muted, size: 12 };
        continue;
      }
      const color = theme[`series${trace.meta.series % 3}`];
      trace.marker = { ...trace.marker, color };
      if (trace.marker.pattern) trace.marker.pattern = { ...trace.marker.pattern, fgcolor: theme.card, fillmode: "overlay" };
      if (trace.error_y) trace.error_y.color = color;
      if (trace.text) trace.textfont = { color: theme.text };
      if (trace.type === "bar" && trace.text) {
        trace.textposition = "outside";
      }
    }
    const axis = { gridcolor: theme.line, linecolor: theme.line, zerolinecolor: theme.line, tickcolor: theme.line };
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = { ...axis, ...layout[name] };
      if (layout[name].title) layout[name].title.font = { size: 13, color: theme.muted };
    }
    for (const shape of layout.shapes ?? []) shape.line.color = shape.line.dash ? theme.muted : theme.card;
    for (const note of layout.annotations ?? []) note.font = { color: theme.muted, size: 12, ...note.font };
    return {
      data,
      layout: {
        ...layout,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: theme.text, size: 13, family: getComputedStyle(document.body).fontFamily },
        hoverlabel: { bgcolor: theme.card, bordercolor: theme.line, font: { color: theme.text } },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      },
    };
  }

  const visible = (place) => place.offsetWidth > 0;

  function draw(place) {
    const figure = themed(content.plots[place.dataset.plot]);
    figure.layout.height = Number(place.dataset.height);
    figure.layout.width = undefined;
    const config = {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { filename: place.dataset.plot },
    };
    place.dataset.state = "drawn";
    return window.Plotly.react(place, figure.data, figure.layout, config);
  }

  async function show(place) {
    if (place.dataset.state !== "waiting" || !visible(place)) return;
    try {
      await load();
      if (place.dataset.state === "waiting") await draw(place);
    } catch (error) {
      place.dataset.state = "failed";
      place.style.minHeight = "";
      const message = document.createElement("p");
      message.className = "plot-message";
      message.textContent = `The plot cannot be drawn here (${error.message}); its figures stand in the tables.`;
      place.replaceChildren(message);
    }
  }

  function redraw() {
    for (const place of places) if (place.dataset.state === "drawn") draw(place);
  }

  if (places.length) {
    const watcher = new IntersectionObserver(
      (entries) => entries.forEach((entry) => entry.isIntersecting && show(entry.target)),
      { rootMargin: "600px" },
    );
    places.forEach((place) => watcher.observe(place));
    // The first ones are drawn in any case, so that a page printed at once has them.
    const eager = async () => {
      for (const place of places.slice(0, EAGER)) {
        await show(place);
        await new Promise((resolve) => setTimeout(resolve));
      }
      document.documentElement.dataset.plots = "ready";
    };
    (window.requestIdleCallback ?? setTimeout)(eager);
    for (const box of document.querySelectorAll("details")) {
      box.addEventListener("toggle", () => {
        if (!box.open) return;
        box.querySelectorAll("[data-plot]").forEach((place) => {
          if (place.dataset.state === "drawn") window.Plotly.Plots.resize(place);
          else show(place);
        });
      });
    }
    dark.addEventListener("change", redraw);
  }

  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const box = target.closest("details");
    if (box && !box.open) {
      box.open = true;
      target.scrollIntoView();
    }
  }
  addEventListener("hashchange", openTarget);
  openTarget();

  // On paper everything is open and light.
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((box) => { box.open = true; });
    if (window.Plotly) {
      redraw();
      places.forEach((place) => { if (place.dataset.state === "waiting" && visible(place)) draw(place); });
    }
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((box) => { box.open = false; });
    redraw();
  });
})();
