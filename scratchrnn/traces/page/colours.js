// Colours: of a number by its sign and size, of a line by the name of what it shows. They come from palette.py.
"use strict";

const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
const SCALES = { light: data.palette.signed.light.map(channels), dark: data.palette.signed.dark.map(channels) };

/** Of a share between -1 and 1 of the largest that can be shown. */
function rgb(share, theme) {
  const [low, middle, high] = SCALES[theme];
  const end = share < 0 ? low : high;
  const s = Math.min(Math.abs(share), 1) || 0;
  return middle.map((m, k) => Math.round(m + s * (end[k] - m)));
}

function tint(share, theme) {
  const color = rgb(share, theme);
  const [r, g, b] = color.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  const ink = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff"; // where black and white are as far apart
  return `background:rgb(${color});color:${ink}`;
}

const lineColour = (layer, name, theme) => data.palette.lines[theme][layer.places[name] ?? 0];

function useTheme() {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => query.addEventListener("change", (event) => setDark(event.matches)), []);
  return dark ? "dark" : "light";
}
