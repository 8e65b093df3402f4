"use strict";
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
  const drawn = {}; // by chart: the width that it was drawn for, and how to end it

  // Columns of a legend: as many as fit, with the longest name at about 7 pixels a character.
  function columns(spec, width) {
    const names = spec.layer.flatMap(function (layer) {
      const paint = (layer.encoding || {}).color || {};
      return (paint.scale || {}).domain || [];
    });
    const longest = Math.max(1, ...names.map(function (name) { return String(name).length; }));
    return Math.max(1, Math.floor((width - 60) / (28 + 7 * longest)));
  }

  function settings(spec, width) {
    const text = "var(--text)";
    const narrow = width < 500;
    return {
      aria: false, background: null, font: font, view: { stroke: null },
      axis: {
        labelColor: text, titleColor: text, domainColor: "var(--line)", tickColor: "var(--line)",
        gridColor: "var(--faint)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
        titleLimit: Math.max(120, 0.8 * width), labelOverlap: "greedy",
      },
      axisX: { labelLimit: narrow ? 90 : 140, tickCount: narrow ? 4 : 8 },
      axisY: { labelLimit: Math.min(220, 0.46 * width), titleLimit: 240 },
      axisBand: { labelOverlap: false, grid: false },
      legend: {
        labelColor: text, labelFontSize: 12, orient: "top", direction: "horizontal", symbolOpacity: 1,
        columns: columns(spec, width), labelLimit: Math.min(220, width - 60),
      },
      text: { fontSize: 12, color: text },
    };
  }

  async function draw(key) {
    const place = document.getElementById(key);
    const width = place.clientWidth;
    if (drawn[key]) {
      drawn[key].finalize();
      place.replaceChildren();
    }
    const inside = document.createElement("div"); // Vega names the element that it draws in, and hides our description
    inside.setAttribute("aria-hidden", "true");
    place.append(inside);
    try {
      // Expressions are interpreted, not compiled: the page forbids scripts that are made while it runs.
      const result = await vegaEmbed(inside, charts[key], {
        mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, hover: true,
        config: settings(charts[key], width), tooltip: { disableDefaultStyle: true },
      });
      drawn[key] = { width: width, finalize: result.finalize };
      place.dataset.drawn = "yes";
    } catch (error) {
      place.textContent = "This chart could not be drawn (" + error.message + "); its numbers are in the table below.";
      throw error;
    }
  }

  Object.keys(charts).forEach(draw);

  // Legends and labels are laid out for a width: they are drawn again for another.
  let waiting;
  window.addEventListener("resize", function () {
    clearTimeout(waiting);
    waiting = setTimeout(function () {
      for (const key of Object.keys(drawn)) {
        if (document.getElementById(key).clientWidth !== drawn[key].width) draw(key);
      }
    }, 150);
  });
})();
