// Who is here: asked first of all. Without an answer nothing else is drawn; without a key, the sign-in is.
import { Center } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";

import { Failure } from "../client";
import { session } from "../client/queries";
import { Failed, Waiting } from "../parts/said";
import { SignIn } from "./sign-in";

export function Session({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const [ended, setEnded] = useState<Failure | null>(null);
  const who = useQuery(session);
  useEffect(() => {
    const leave = (event: Event) => setEnded((event as CustomEvent<Failure>).detail);
    window.addEventListener("signed-out", leave);
    return () => window.removeEventListener("signed-out", leave);
  }, []);
  const enter = () => {
    setEnded(null);
    queries.clear();
    void who.refetch();
  };
  const out = ended ?? (who.error instanceof Failure && who.error.status === 401 ? who.error : null);
  if (out) return <SignIn why={out} enter={enter} />;
  if (who.isPending) return <Waiting what="Asking the server who you are" />;
  if (who.error) {
    return (
      <Center p="xl">
        <Failed error={who.error} retry={() => void who.refetch()} />
      </Center>
    );
  }
  return children;
}
