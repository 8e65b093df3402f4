"use strict";
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

  function settings(width) {
    const narrow = width < 500;
    const text = "var(--text)";
    const quiet = { labelColor: text, titleColor: text, domainColor: "var(--line)", tickColor: "var(--line)",
      gridColor: "var(--faint)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
      titleLimit: Math.max(120, 0.8 * width), labelOverlap: "greedy" };
    return {
      aria: false,
      background: null, font: font, view: { stroke: null },
      axis: quiet,
      axisX: { labelLimit: narrow ? 90 : 140, tickCount: narrow ? 4 : 8 },
      axisY: { labelLimit: Math.min(220, 0.46 * width), titleLimit: 240 },
      axisBand: { labelOverlap: false, grid: false },
      legend: { labelColor: text, titleColor: text, labelFontSize: 12, orient: "top", direction: "horizontal",
        labelLimit: Math.min(200, width - 60), symbolOpacity: 1 },
      text: { fontSize: 12, color: text },
    };
  }

  for (const key of Object.keys(charts)) {
    const place = document.getElementById(key);
    const inside = document.createElement("div"); // Vega names the element that it draws in, and hides our description
    inside.setAttribute("aria-hidden", "true");
    place.append(inside);
    // Expressions are interpreted, not compiled: the page forbids scripts that are made while it runs.
    vegaEmbed(inside, charts[key], {
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, hover: true,
      config: settings(place.clientWidth), tooltip: { disableDefaultStyle: true },
    }).then(function () {
      place.dataset.drawn = "yes";
    }).catch(function (error) {
      place.textContent = "This chart could not be drawn (" + error.message + "); its numbers are in the table below.";
      throw error;
    });
  }
})();
