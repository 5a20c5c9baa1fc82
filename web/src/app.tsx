import { MantineProvider, createTheme } from "@mantine/core";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { Suspense, lazy } from "react";
import { BrowserRouter, Navigate, Route, Routes } from "react-router";

import { Failure } from "./client";
import { session } from "./client/queries";
import { host } from "./host";
import { Waiting } from "./parts/said";
import { Shell } from "./parts/shell";
import { Session } from "./session";

const Home = lazy(() => import("./pages/home"));
const Data = lazy(() => import("./pages/data"));
const File = lazy(() => import("./pages/file"));
const Train = lazy(() => import("./pages/train"));
const Job = lazy(() => import("./pages/job"));
const Overlay = lazy(() => import("./pages/overlay"));
const Models = lazy(() => import("./pages/models"));
const Model = lazy(() => import("./pages/model"));
const Compare = lazy(() => import("./pages/compare"));
const Playground = lazy(() => import("./pages/playground"));
const Traffic = lazy(() => import("./pages/traffic"));
const Settings = lazy(() => import("./pages/settings"));
const Nowhere = lazy(() => import("./pages/nowhere"));

/** Where one comes in: a key that may only ask goes where it may. */
function First() {
  const who = useQuery(session);
  return who.data?.role === "invoke" ? <Navigate to="/playground" replace /> : <Home />;
}

const CLOSE = { defaultProps: { closeButtonProps: { "aria-label": "Close" } } };

const theme = createTheme({
  components: { Modal: CLOSE, Drawer: CLOSE },
  primaryColor: "cyan",
  primaryShade: 9,
  autoContrast: true,
  defaultRadius: "md",
  cursorType: "pointer",
});

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // What the server refused it refuses again; one that does not answer may come back.
      retry: (failures, error) => failures < 2 && error instanceof Failure && error.status === 0,
      refetchOnWindowFocus: false,
    },
  },
});

export function App({ nonce }: { nonce: string }) {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <QueryClientProvider client={queries}>
        <Session>
          <BrowserRouter basename="/console">
            <Shell>
              <Suspense fallback={<Waiting />}>
                <Routes>
                  <Route index element={<First />} />
                  <Route path="playground" element={<Playground />} />
                  {!host.alone && (
                    <>
                      <Route path="data" element={<Data />} />
                      <Route path="data/file" element={<File />} />
                      <Route path="train" element={<Train />} />
                      <Route path="train/overlay" element={<Overlay />} />
                      <Route path="train/:id" element={<Job />} />
                      <Route path="models" element={<Models />} />
                      <Route path="models/:id" element={<Model />} />
                      <Route path="compare" element={<Compare />} />
                      <Route path="traffic" element={<Traffic />} />
                      <Route path="settings" element={<Settings />} />
                    </>
                  )}
                  <Route path="*" element={<Nowhere />} />
                </Routes>
              </Suspense>
            </Shell>
          </BrowserRouter>
        </Session>
      </QueryClientProvider>
    </MantineProvider>
  );
}
