// A line of the last numbers of something.
import { svg } from "/page/dom.js";

const kWidth = 240;
const kHeight = 36;

export class Chart {
  // `low`, `high`: what the picture holds at least; numbers beyond make it larger.
  constructor(element, { most = 120, low = null, high = null } = {}) {
    this.most = most;
    this.low = low;
    this.high = high;
    this.values = [];
    this.element = element;
    this.line = svg("polyline", { class: "chart-line", "vector-effect": "non-scaling-stroke" });
    this.area = svg("polygon", { class: "chart-area" });
    element.replaceChildren(svg("svg", {
      viewBox: `0 0 ${kWidth} ${kHeight}`, preserveAspectRatio: "none", "aria-hidden": "true",
    }, this.area, this.line));
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > this.most) this.values.shift();
    this.draw();
  }

  show(values) {
    this.values = values.slice(-this.most);
    this.draw();
  }

  draw() {
    this.element.hidden = this.values.length < 2;
    const low = Math.min(...this.values, this.low ?? Infinity);
    const high = Math.max(...this.values, this.high ?? -Infinity);
    const spread = high > low ? high - low : 1;
    const step = kWidth / Math.max(1, this.values.length - 1);
    const points = this.values.map((value, i) => {
      const y = kHeight - 3 - ((value - low) / spread) * (kHeight - 6);
      return `${(i * step).toFixed(1)},${y.toFixed(1)}`;
    });
    if (points.length === 1) points.push(`${kWidth},${points[0].split(",")[1]}`);
    this.line.setAttribute("points", points.join(" "));
    this.area.setAttribute("points",
      points.length > 0 ? `0,${kHeight} ${points.join(" ")} ${kWidth},${kHeight}` : "");
  }
}
