// The request log: filtered on the server, read on as one scrolls, drawn only where one looks, and picked from.
import { Button, Checkbox, Drawer, Group, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ChangeEvent, useEffect, useMemo, useRef, useState } from "react";

import { type Schemas, ask, client } from "../client";
import { Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { count, duration } from "../parts/words";
import type { Fields, Fitting } from "./fitting";
import { NameSelect } from "./names";
import { Whole } from "./request";

type Row = Schemas["ShownRequest"];

/** Requests that a data set shall be made of, by id. */
interface Picking {
  picked: ReadonlySet<string>;
  pick: (picked: ReadonlySet<string>) => void;
}

const PAGE = 500;
const MOMENT = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const toggled = (picked: ReadonlySet<string>, id: string): ReadonlySet<string> => new Set(picked.has(id) ? [...picked].filter((each) => each !== id) : [...picked, id]);

export function Log({ fields, setFields, fitting, ...picking }: { fields: Fields; setFields: (fields: Fields) => void; fitting: Fitting } & Picking) {
  const [chosen, setChosen] = useState<Row | null>(null);
  const field = (name: "contains" | "status" | "key" | "variant") => ({
    value: fields[name],
    onChange: (event: ChangeEvent<HTMLInputElement>) => setFields({ ...fields, [name]: event.currentTarget.value }),
  });
  const query = { ...fitting, bodies: false, limit: PAGE };
  const log = useInfiniteQuery({
    queryKey: ["log", query],
    queryFn: ({ pageParam }) => ask(client.GET("/api/requests", { params: { query: { ...query, ...(pageParam && { before: pageParam }) } } })),
    initialPageParam: "",
    getNextPageParam: (page) => (page.has_more ? page.last_id : undefined),
    maxPages: 40,
  });
  const rows = useMemo(() => log.data?.pages.flatMap((page) => page.data) ?? [], [log.data]);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 2, md: 5 }} spacing="sm">
        <TextInput label="Words" placeholder="asked or answered" className="first" {...field("contains")} />
        <NameSelect label="Answered by" value={fields.model} set={(model) => setFields({ ...fields, model })} clearable />
        <TextInput label="Status" placeholder="200" inputMode="numeric" {...field("status")} />
        <TextInput label="Key" placeholder="key-…" {...field("key")} />
        <TextInput label="Variant" {...field("variant")} />
      </SimpleGrid>
      <Failed error={log.error} retry={() => void log.refetch()} />
      {log.isPending ? (
        <Waiting />
      ) : rows.length === 0 && !log.error ? (
        <Empty>
          {Object.keys(fitting).length
            ? "No request fits. Words are found only where the log keeps them: PUMICE_LOG_BODIES=1."
            : "No request yet. Ask a model in the Playground, or over the API."}
        </Empty>
      ) : (
        <Rows
          rows={rows}
          more={log.hasNextPage}
          busy={log.isFetchingNextPage}
          fetchMore={() => void log.fetchNextPage()}
          choose={setChosen}
          refresh={() => void log.refetch()}
          {...picking}
        />
      )}
      <Drawer opened={chosen !== null} onClose={() => setChosen(null)} position="right" size="lg" title={chosen?.id ?? ""} styles={{ title: { overflowWrap: "anywhere" } }}>
        {chosen && <Whole id={chosen.id} key={chosen.id} />}
      </Drawer>
    </Stack>
  );
}

interface Reading {
  rows: Row[];
  more: boolean;
  busy: boolean;
  fetchMore: () => void;
  choose: (row: Row) => void;
  refresh: () => void;
}

function Rows({ rows, more, busy, fetchMore, choose, refresh, picked, pick }: Reading & Picking) {
  const place = useRef<HTMLDivElement>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- The library says itself when to draw.
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => place.current, estimateSize: () => 36, overscan: 12 });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && !busy && last >= rows.length - 20) fetchMore();
  }, [last, rows.length, more, busy, fetchMore]);
  return (
    <Part
      title="Requests"
      side={
        <Group gap="xs">
          {picked.size > 0 && (
            <Button size="compact-xs" variant="subtle" onClick={() => pick(new Set())}>
              Pick none
            </Button>
          )}
          <Button size="compact-xs" variant="default" onClick={refresh}>
            Refresh
          </Button>
        </Group>
      }
    >
      <Text size="xs" c="dimmed" mb={4} role="status">
        {count(rows.length)} {more ? "read so far" : "in all"}
        {busy && ", reading on …"}
        {picked.size > 0 && `; ${count(picked.size)} picked for a data set`}
      </Text>
      <div ref={place} style={{ height: 460, overflow: "auto" }} tabIndex={0} role="group" aria-label="Requests, the newest first">
        <div className="log">
          <div className="log-line log-head">
            <span />
            <div className="log-row">
              <span>When</span>
              <span className="log-more">What</span>
              <span>Model</span>
              <span>Status</span>
              <span className="log-more">Tokens</span>
              <span className="log-more">First</span>
              <span className="log-more">Took</span>
            </div>
          </div>
          <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
            {items.map((item) => {
              const row = rows[item.index];
              if (!row) return null;
              return (
                <div key={row.id} className="log-line" style={{ position: "absolute", top: 0, height: item.size, transform: `translateY(${item.start}px)` }}>
                  <Checkbox size="xs" aria-label={`Pick ${row.id}`} checked={picked.has(row.id)} onChange={() => pick(toggled(picked, row.id))} />
                  <button type="button" className="log-row" onClick={() => choose(row)}>
                    <span>{MOMENT.format(new Date(row.at))}</span>
                    <span className="log-more">{row.operation}</span>
                    <span>{row.model || row.asked || <span className="log-less">{row.operation}</span>}</span>
                    <span style={row.status >= 400 ? { color: "var(--mantine-color-error)" } : {}}>{row.status}</span>
                    <span className="log-more">
                      {count(row.input_tokens)} → {count(row.output_tokens)}
                    </span>
                    <span className="log-more">{row.first_token_seconds === null ? "" : duration(row.first_token_seconds)}</span>
                    <span className="log-more">{duration(row.seconds)}</span>
                  </button>
                </div>
              );
            })}
          </div>
        </div>
      </div>
    </Part>
  );
}
