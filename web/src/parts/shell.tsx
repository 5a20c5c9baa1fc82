// What stands around every page: where one can go, who is here, light or dark.
import { ActionIcon, AppShell, Badge, Burger, Button, Group, NavLink, Stack, Text, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, type ReactNode } from "react";
import { NavLink as Link, useLocation } from "react-router";

import { session } from "../client/queries";
import { host } from "../host";
import icon from "../icon.svg";

const PAGES = [
  ["/", "Home"],
  ["/data", "Data"],
  ["/train", "Train"],
  ["/models", "Models"],
  ["/compare", "Compare"],
  ["/playground", "Playground"],
  ["/traffic", "Traffic"],
  ["/settings", "Settings"],
] as const;

export function Shell({ children }: { children: ReactNode }) {
  const [open, { toggle, close }] = useDisclosure();
  const place = useLocation();
  const who = useQuery(session);
  // A key that may only ask finds the one page that asks.
  const pages = who.data?.role === "invoke" ? PAGES.filter(([path]) => path === "/playground") : PAGES;
  useEffect(() => close(), [place, close]);
  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !open } }}
      padding="md"
    >
      <a className="skip" href="#page">
        Skip to the page
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Pages" aria-expanded={open} />
            <img src={icon} alt="" width={26} height={26} />
            <Text fw={700}>Pumice</Text>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Who />
            <Theme />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Pages">
        <Stack gap={2}>
          {pages.map(([path, name]) => (
            <NavLink
              key={path}
              component={Link}
              to={path}
              end={path === "/"}
              label={name}
              active={path === "/" ? place.pathname === "/" : place.pathname.startsWith(path)}
            />
          ))}
        </Stack>
      </AppShell.Navbar>
      <AppShell.Main id="page" tabIndex={-1}>
        {children}
      </AppShell.Main>
    </AppShell>
  );
}

function Who() {
  const who = useQuery(session);
  const queries = useQueryClient();
  if (!who.data?.key) {
    return (
      <Badge variant="default" tt="none" fw={500} visibleFrom="xs">
        no key needed here
      </Badge>
    );
  }
  const leave = async () => {
    await host.leave();
    queries.clear();
    window.location.reload();
  };
  return (
    <>
      <Text size="sm" visibleFrom="xs">
        {who.data.key} · {who.data.role}
      </Text>
      <Button size="compact-sm" variant="default" onClick={() => void leave()}>
        Sign out
      </Button>
    </>
  );
}

function Theme() {
  const { setColorScheme } = useMantineColorScheme();
  const now = useComputedColorScheme("light");
  const other = now === "dark" ? "light" : "dark";
  return (
    <ActionIcon variant="default" size="lg" aria-label={`Use the ${other} theme`} onClick={() => setColorScheme(other)}>
      <svg width="18" height="18" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="2" aria-hidden="true">
        {now === "dark" ? (
          <>
            <circle cx="12" cy="12" r="4" />
            <path d="M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5 19 19M19 5l-1.5 1.5M6.5 17.5 5 19" />
          </>
        ) : (
          <path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.500 10.500z" />
        )}
      </svg>
    </ActionIcon>
  );
}
