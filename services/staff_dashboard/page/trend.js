// A small line of one signal over time. A gap in what was measured is a gap in the line.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [100, 32];
const HOUR = 3600000;

export function trend() {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.append(path);
  // `points` are pairs of ms and value, oldest first; two that lie further apart than `gap` ms are not one line.
  svg.draw = (points, { now, gap, least, name }) => {
    const shown = points.filter(([at]) => at > now - HOUR);
    const values = shown.map(([, value]) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const height = Math.max(high - low, least);
    const bottom = (low + high - height) / 2;
    let line = "";
    shown.forEach(([at, value], index) => {
      const x = WIDTH - ((now - at) / HOUR) * WIDTH;
      const y = HEIGHT - 2 - ((value - bottom) / height) * (HEIGHT - 4);
      line += `${index && at - shown[index - 1][0] <= gap ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    path.setAttribute("d", line);
    svg.setAttribute("aria-label", shown.length > 1 ? `${name} in the last hour: from ${low} to ${high}` : `${name}: no trend yet`);
  };
  return svg;
}
