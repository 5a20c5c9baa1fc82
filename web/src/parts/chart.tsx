// Lines over time or steps, drawn by Chart.js in the theme's colours; the last values stand in words for who cannot see.
import { Box, Text, useComputedColorScheme } from "@mantine/core";
import { Chart as Drawing, LineController, LineElement, LinearScale, PointElement, Tooltip } from "chart.js";
import { useEffect, useRef } from "react";

Drawing.register(LineController, LineElement, PointElement, LinearScale, Tooltip);

export interface Line {
  label: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  /** Steps, or with `time` seconds since 1970. */
  x: number[];
  lines: Line[];
  time?: boolean;
  height?: number;
  format?: (value: number) => string;
}

/** So many values are dots, too: one alone among gaps makes no line. */
const FEW = 12;

export const COLOURS = ["#1098ad", "#e8590c", "#7048e8", "#2f9e44", "#d6336c", "#f08c00"];

const plain = (value: number) =>
  value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(4)));

const clock = (seconds: number) =>
  new Date(seconds * 1000).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** Curves beside each other show the same stretch of time, whether or not something happened in all of it. */
const ends = (x: number[]) => ({ min: x[0], max: x.at(-1) });

const datasets = (x: number[], lines: Line[]) =>
  lines.map((line, at) => {
    const colour = COLOURS[at % COLOURS.length] ?? "#1098ad";
    const points = line.values.flatMap((y, place) => (y === null ? [] : [{ x: x[place] ?? 0, y }]));
    return { label: line.label, data: points, borderColor: colour, backgroundColor: colour, borderWidth: 2, clip: 6, pointRadius: points.length < FEW ? 2.5 : 0 };
  });

export function Chart({ title, x, lines, time = false, height = 200, format = plain }: Props) {
  const place = useRef<HTMLCanvasElement>(null);
  const drawing = useRef<Drawing<"line", { x: number; y: number }[]> | null>(null);
  const scheme = useComputedColorScheme("light");
  const latest = useRef({ x, lines, format });

  useEffect(() => {
    latest.current = { x, lines, format };
    if (!drawing.current) return;
    drawing.current.data.datasets = datasets(x, lines);
    Object.assign(drawing.current.options.scales?.["x"] ?? {}, time ? ends(x) : {});
    drawing.current.update("none");
  });
  useEffect(() => {
    if (!place.current) return;
    const ink = scheme === "dark" ? "#c9c9c9" : "#495057";
    const grid = { color: scheme === "dark" ? "#424242" : "#e9ecef" };
    const number = (value: string | number) => latest.current.format(Number(value));
    const step = (value: string | number) => (time ? clock(Number(value)) : plain(Number(value)));
    drawing.current = new Drawing(place.current, {
      type: "line",
      data: { datasets: datasets(latest.current.x, latest.current.lines) },
      options: {
        animation: false,
        maintainAspectRatio: false,
        parsing: false,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: { type: "linear", bounds: "data", grid, ticks: { color: ink, callback: step, maxTicksLimit: time ? 4 : 8, maxRotation: 0, ...(!time && { precision: 0 }) }, ...(time && ends(latest.current.x)) },
          y: { type: "linear", grid, ticks: { color: ink, callback: number, maxTicksLimit: 6 } },
        },
        plugins: {
          tooltip: {
            callbacks: {
              title: ([item]) => (item?.parsed.x === null || item === undefined ? "" : step(item.parsed.x)),
              label: (item) => `${item.dataset.label ?? ""}: ${item.parsed.y === null ? "" : number(item.parsed.y)}`,
            },
          },
        },
      },
    });
    return () => {
      drawing.current?.destroy();
      drawing.current = null;
    };
  }, [scheme, time]);

  const said = lines.map((line) => {
    const last = line.values.findLast((value) => value !== null);
    return { label: line.label, last: last === null || last === undefined ? "none yet" : format(last) };
  });
  return (
    <Box component="figure" m={0} miw={0}>
      <figcaption>
        <Text fw={600} size="sm">
          {title}
        </Text>
        {said.map((each, at) => (
          <Text key={each.label} component="span" display="inline-block" size="xs" c="dimmed" mr="md">
            <Box
              component="span"
              display="inline-block"
              w={10}
              h={3}
              mr={6}
              style={{ verticalAlign: "middle", background: COLOURS[at % COLOURS.length] }}
            />
            {each.label}: {each.last}
          </Text>
        ))}
      </figcaption>
      <div style={{ position: "relative", height }} aria-hidden="true">
        <canvas ref={place} />
      </div>
    </Box>
  );
}
