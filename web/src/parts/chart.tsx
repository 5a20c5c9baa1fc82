// Lines over time or steps, drawn by uPlot in the theme's colours; the last values stand in words for who cannot see.
import { Box, Text, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Line {
  label: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  x: number[];
  lines: Line[];
  time?: boolean;
  height?: number;
  log?: boolean;
  format?: (value: number) => string;
}

/** So many values are dots, too. */
const FEW = 12;

export const COLOURS = ["#1098ad", "#e8590c", "#7048e8", "#2f9e44", "#d6336c", "#f08c00"];

const plain = (value: number) =>
  value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(4)));

export function Chart({ title, x, lines, time = false, height = 200, log = false, format = plain }: Props) {
  const { ref, width } = useElementSize();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useComputedColorScheme("light");
  const data = [x, ...lines.map((line) => line.values)] as uPlot.AlignedData;
  const latest = useRef(data);
  const labels = lines.map((line) => line.label).join("\n");

  useEffect(() => {
    latest.current = data;
    plot.current?.setData(data);
  });
  useEffect(() => {
    if (!place.current || width === 0) return;
    const ink = scheme === "dark" ? "#c9c9c9" : "#495057";
    const grid = scheme === "dark" ? "#424242" : "#e9ecef";
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    const drawn = new uPlot(
      {
        width,
        height,
        cursor: { y: false },
        legend: { show: false },
        scales: { x: { time }, y: log ? { distr: 3 } : {} },
        axes: [{ ...axis, size: 30 }, { ...axis, size: 58, values: (_, ticks) => ticks.map((v) => (v === null ? "" : format(v))) }],
        series: [
          {},
          ...labels.split("\n").map((label, at) => ({
            label,
            stroke: COLOURS[at % COLOURS.length] ?? "#1098ad",
            width: 2,
            spanGaps: true,
            // A value alone among gaps makes no line.
            points: { show: (plot: uPlot, place: number) => [...(plot.data[place] ?? [])].filter((value) => value !== null).length < FEW, size: 5 },
          })),
        ],
      },
      latest.current,
      place.current,
    );
    plot.current = drawn;
    return () => {
      drawn.destroy();
      plot.current = null;
    };
    // The data are set above: only what changes the drawing makes a new one.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [width, height, scheme, labels, time, log]);

  const said = lines.map((line) => {
    const last = line.values.findLast((value) => value !== null && value !== undefined);
    return { label: line.label, last: last === null || last === undefined ? "none yet" : format(last) };
  });
  return (
    <Box ref={ref} component="figure" m={0} miw={0}>
      <figcaption>
        <Text fw={600} size="sm">
          {title}
        </Text>
        {said.map((each, at) => (
          <Text key={each.label} component="span" size="xs" c="dimmed" mr="md">
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
      <div ref={place} aria-hidden="true" style={{ minHeight: height }} />
    </Box>
  );
}
